"""The lookup of metrics and conventions by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from refusion.errors import UserError
from refusion.metrics.catalogue import ROWS
from refusion.metrics.conventions import cddfuse, corrected, tang, vifb
from refusion.metrics.facts import Convention, Definition, Metric

# Fast and robust enough for the validation after every epoch.
METRICS: tuple[str, ...] = ("EN", "SD", "SF", "AG", "SCD", "SSIM", "VIF", "Qabf")

DEFAULT_CONVENTION = "authors"

CONVENTIONS: dict[str, Convention] = {
    "authors": Convention(
        "the evaluator published with TDFusion, and the commonest form of what it lacks",
        rounds_sources=False,
        default_metrics=METRICS,
    ),
    "cddfuse": Convention("the Python evaluator published with CDDFuse (CVPR 2023)", rounds_sources=True),
    "vifb": Convention("the MATLAB evaluator of the VIFB benchmark (CVPRW 2020)", rounds_sources=True),
    "tang": Convention("L. Tang's MATLAB evaluator, Evaluation-for-Image-Fusion", rounds_sources=True),
    "corrected": Convention(
        "as authors, with what is a defect in the public evaluators mended",
        rounds_sources=False,
        default_metrics=METRICS,
    ),
}


_OTHER_CONVENTIONS: Mapping[str, Mapping[str, Definition]] = MappingProxyType(
    {
        "cddfuse": cddfuse.DEFINITIONS,
        "vifb": vifb.DEFINITIONS,
        "tang": tang.DEFINITIONS,
        "corrected": corrected.DEFINITIONS,
    }
)

CATALOGUE: dict[str, Metric] = {
    metric.name: replace(
        metric,
        definitions=metric.definitions
        | {
            convention: others[metric.name]
            for convention, others in _OTHER_CONVENTIONS.items()
            if metric.name in others
        },
    )
    for metric in ROWS
}


def find_definitions(names: Iterable[str] | None = None, convention: str = DEFAULT_CONVENTION) -> dict[str, Definition]:
    """Returns the definitions of metrics in one convention.

    Args:
        names: names of metrics (one name, or several), or "all" for every metric of the convention; None for the
            convention's default metrics.
        convention: a key of ``CONVENTIONS``.

    Returns:
        Definitions by name, in the order of ``names``.

    Raises:
        UserError: the convention, or one of the metrics in it, does not exist.

    Example:
        >>> list(find_definitions(["Qabf", "EN"]))
        ['Qabf', 'EN']
        >>> find_definitions("MSE", "tang")["MSE"].high
        1
    """
    if convention not in CONVENTIONS:
        raise UserError(f"there is no metric convention {convention!r}: choose from {', '.join(CONVENTIONS)}")
    known = {
        name: metric.definitions[convention] for name, metric in CATALOGUE.items() if convention in metric.definitions
    }
    default = CONVENTIONS[convention].default_metrics
    chosen = [names] if isinstance(names, str) else list(names) if names is not None else list(default or known)
    if chosen == ["all"]:
        return known
    for name in chosen:
        if name not in known:
            raise UserError(f"there is no metric {name!r} in convention {convention!r}: choose from {', '.join(known)}")
    return {name: known[name] for name in chosen}
