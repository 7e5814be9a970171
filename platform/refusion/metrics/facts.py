"""Records of what is known about a metric, its definitions and the conventions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Definition:
    """A metric as one convention computes it.

    Attributes:
        compute: takes the fused images (B,H,W), whole grey levels, and the sources (2,B,H,W), all float64 on 0–255, and
            returns the scores (B,), float64.
        low, high: bounds of the scores.
        smallest_side: the least height and width in pixels that it takes.
        adds_sources: True where the score is the sum over the two sources instead of their mean; against one true image
            it is halved.
        evaluator_name: the evaluator's own name of the metric, where that differs.
        note: the peculiarity of this convention, for tables and ``--help``.
    """

    compute: Callable[[Tensor, Tensor], Tensor]
    low: float
    high: float
    smallest_side: int = 1
    adds_sources: bool = False
    evaluator_name: str = ""
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """One row of the catalogue.

    Attributes:
        name: in tables, in CSV columns and on the command line.
        title: a few words for tables and ``--help``.
        direction: "higher" or "lower", the better one.
        citation: the publication that defines it.
        definitions: the definition in each convention that has the metric.
        noise_sensitive: True where noise raises the score without limit, so that no choice of a best model rests on it
            alone.
        needs_sources: False where the fused image alone decides the score.
        full_reference: True where the metric has a meaning against one true image, too.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    citation: str
    definitions: dict[str, Definition] = field(default_factory=dict)
    noise_sensitive: bool = False
    needs_sources: bool = True
    full_reference: bool = False


@dataclass(frozen=True)
class Convention:
    """A public evaluator, or a variant of one, whose numbers the metrics reproduce.

    Attributes:
        title: one line for tables and ``--help``.
        rounds_sources: True where the evaluator reads the sources as whole grey levels.
        default_metrics: metrics that are computed where none are asked for; None for all of the convention.
    """

    title: str
    rounds_sources: bool
    default_metrics: tuple[str, ...] | None = None
