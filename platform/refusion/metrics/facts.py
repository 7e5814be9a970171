"""What can be known about a metric, and about a convention."""

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
            gives (B,) float64.
        low, high: the scores lie between them.
        smallest_side: the least height and width it works on.
        adds_sources: whether the score is the sum over the two sources, not their mean; against one true image it is
            halved.
        theirs: the evaluator's own name of it, where that differs.
        note: what is peculiar to this convention.
    """

    compute: Callable[[Tensor, Tensor], Tensor]
    low: float
    high: float
    smallest_side: int = 1
    adds_sources: bool = False
    theirs: str = ""
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes:
        direction: whether higher or lower is better.
        noise_sensitive: has no upper target, for noise raises it: no choice of a best model rests on it alone.
        needs_sources: False where the fused image alone decides the score.
        full_reference: also has a meaning against a true image, where one exists.
        definitions: by convention.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    noise_sensitive: bool
    needs_sources: bool
    full_reference: bool
    citation: str
    definitions: dict[str, Definition] = field(default_factory=dict)


@dataclass(frozen=True)
class Convention:
    """Whose numbers these are.

    Attributes:
        title: one line for tables and ``--help``.
        whole_sources: the evaluator reads the sources as whole grey levels; they are rounded for it.
        usual: the metrics that are computed where none are asked for; None: all that it has.
    """

    title: str
    whole_sources: bool
    usual: tuple[str, ...] | None = None
