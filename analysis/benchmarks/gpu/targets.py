"""Targets for an H100, and the rows that say if a report reaches them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpu.rows import Row

CARD = "H100"
NOT_RUN = "not run on a card"


@dataclass(frozen=True)
class Target:
    """A limit of one row's number, or of its peak, or of its ratio to another row's number.

    Attributes:
        section, what: of the row.
        limit: in the unit.
        unit: of the row; MB of a peak, × of a ratio.
        of: the row that the number is divided by.
        peak: the row's peak is meant.
        at_least: the number is to be as large.
    """

    section: str
    what: str
    limit: float
    unit: str = "ms"
    of: str = ""
    peak: bool = False
    at_least: bool = False

    @property
    def name(self) -> str:
        """The row, and what of it is meant."""
        return self.what + (", peak" if self.peak else "") + (f", against {self.of}" if self.of else "")

    @property
    def bound(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"


_ON_IMAGE, _THROUGH = "meta-iteration on the image", "meta-iteration through the parameters"
TARGETS = [
    Target("step", f"{_ON_IMAGE} K = 1, batch 4, 96×96, graph", 12),
    Target("step", f"{_THROUGH} K = 1, batch 4, 96×96, graph", 24),
    Target("step", f"{_ON_IMAGE} K = 1, batch 8, 256×256, graph", 100),
    Target("step", f"{_ON_IMAGE} K = 1, batch 8, 256×256, eager", 4000, "MB", peak=True),
    Target("step", f"{_THROUGH} K = 1, batch 8, 256×256, graph", 200),
    Target(
        "step",
        f"{_ON_IMAGE} K = 3, batch 4, 96×96, graph",
        3,
        "×",
        of=f"{_ON_IMAGE} K = 1, batch 4, 96×96, graph",
    ),
    Target("step", "fusion update, batch 4, 96×96, graph", 4),
    Target("epoch", "600 meta-iterations and a pass over 150 pairs", 10, "s"),
    Target("inference", "640×480, in tiles", 4),
    Target("inference", "4096×3072, in tiles", 500),
    Target("inference", "4096×3072, in tiles", 4000, "MB", peak=True),
    Target("trials", "16 at a time in one process", 8, "×", of="1 at a time in one process", at_least=True),
]


def target_rows(rows: Sequence[Row], card: str = "") -> Iterator[Row]:
    """A row for each target: the number, and by how much it is missed; a note where it was not measured.

    Args:
        rows: of a report.
        card: on which it ran; empty for none.
    """
    numbers = {(row.section, row.what): row for row in rows}
    other = f" (of an {CARD})" if card and CARD not in card else ""
    for target in TARGETS:
        row, divisor = (numbers.get((target.section, what)) for what in (target.what, target.of))
        value = math.nan if row is None else row.peak_mb if target.peak else row.value
        if target.of:
            value /= math.nan if divisor is None else divisor.value
        if not math.isnan(value):
            said = _judged(value, target)
        else:
            said = ("not measured" if row is None else row.note or "not measured") if card else NOT_RUN
        yield Row("targets", target.name, value, target.unit, note=f"{target.bound}{other}: {said}")


def _judged(value: float, target: Target) -> str:
    missed = target.limit - value if target.at_least else value - target.limit
    return "met" if missed <= 0 else f"missed by {missed:.3g} {target.unit}"
