"""The table of facts in words: for docs/metrics.md, for ``--help`` and for who asks what a score means."""

from __future__ import annotations

import math
from collections.abc import Iterable

from refusion.metrics.catalogue import CATALOGUE, CONVENTIONS, DEFAULT_CONVENTION, find_definitions
from refusion.metrics.facts import Metric


def describe(name: str, convention: str = DEFAULT_CONVENTION) -> str:
    """A metric in one line: name, direction, what it is, its range in that convention, and what is peculiar there."""
    definition = find_definitions([name], convention)[name]
    metric = CATALOGUE[name]
    note = f"; {definition.note}" if definition.note else ""
    return f"{name} {_arrow(metric)} {metric.title}, {_number(definition.low)} to {_number(definition.high)}{note}"


def metric_tags(names: Iterable[str], convention: str = DEFAULT_CONVENTION) -> dict[str, str]:
    """What MLflow is told of each metric: ``metric.NAME`` and its line."""
    return {f"metric.{name}": describe(name, convention) for name in names}


def help_text() -> str:
    """All metrics and conventions, for ``--help``."""
    lines = ["metrics (↑ higher is better, ↓ lower is better; range and remarks of convention authors or their own):"]
    for name, metric in CATALOGUE.items():
        lines.append(f"  {describe(name, _main_convention(metric))}")
    lines.append("conventions:")
    for name, convention in CONVENTIONS.items():
        lines += [f"  {name}: {convention.title}", f"    {' '.join(find_definitions('all', name))}"]
    return "\n".join(lines)


def markdown_table() -> str:
    """The table of docs/metrics.md."""
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
