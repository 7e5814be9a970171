"""Descriptions of metrics in words, for the documentation's table, ``--help`` and MLflow's tags."""

from __future__ import annotations

import math
from collections.abc import Iterable

from refusion.metrics.facts import Metric
from refusion.metrics.lookup import CATALOGUE, CONVENTIONS, DEFAULT_CONVENTION, find_definitions


def describe(name: str, convention: str = DEFAULT_CONVENTION) -> str:
    """Returns one line on a metric: name, direction, title, range in that convention and its peculiarity there."""
    definition = find_definitions([name], convention)[name]
    metric = CATALOGUE[name]
    note = f"; {definition.note}" if definition.note else ""
    return f"{name} {_arrow(metric)} {metric.title}, {_number(definition.low)} to {_number(definition.high)}{note}"


def metric_tags(names: Iterable[str], convention: str = DEFAULT_CONVENTION) -> dict[str, str]:
    """Returns MLflow tags, ``metric.NAME`` with the line of ``describe``, for each of the metrics."""
    return {f"metric.{name}": describe(name, convention) for name in names}


def help_text() -> str:
    """Returns the list of all metrics and conventions for ``--help``."""
    lines = ["metrics (↑ higher is better, ↓ lower is better; range and remarks of convention authors or their own):"]
    for name, metric in CATALOGUE.items():
        lines.append(f"  {describe(name, _main_convention(metric))}")
    lines.append("conventions:")
    for name, convention in CONVENTIONS.items():
        lines += [f"  {name}: {convention.title}", f"    {' '.join(find_definitions('all', name))}"]
    return "\n".join(lines)


def markdown_table() -> str:
    """Returns the catalogue as a Markdown table, the one in docs/metrics.md."""
    lines = ["| name | better | what | range | sources | conventions | from |", "|---|---|---|---|---|---|---|"]
    for name, metric in CATALOGUE.items():
        definition = metric.definitions[_main_convention(metric)]
        kind = "two" + (" or one true image" if metric.full_reference else "") if metric.needs_sources else "none"
        cells = [
            name,
            _arrow(metric) + (" (noise too)" if metric.noise_sensitive else ""),
            metric.title,
            f"{_number(definition.low)} … {_number(definition.high)}",
            kind,
            ", ".join(metric.definitions),
            metric.citation,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _main_convention(metric: Metric) -> str:
    return DEFAULT_CONVENTION if DEFAULT_CONVENTION in metric.definitions else next(iter(metric.definitions))


def _arrow(metric: Metric) -> str:
    return "↑" if metric.direction == "higher" else "↓"


def _number(value: float) -> str:
    return f"{'−' if value < 0 else ''}∞" if math.isinf(value) else f"{value:.4g}".replace("-", "−")
