"""Targets for an H100, and the rows that say if a report reaches them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpu.rows import Row

CARD = "H100"


@dataclass(frozen=True)
class Target:
    """A limit of one row's number, or of its peak, or of its ratio to another row's number.

    Attributes:
        section, what: of the row.
        limit: in the row's unit, megabytes, or times.
        of: the row that the number is divided by.
        peak: the row's peak is meant.
        at_least: the number is to be as large.
    """

    section: str
    what: str
    limit: float
    of: str = ""
    peak: bool = False
    at_least: bool = False


_ON_IMAGE, _THROUGH = "meta-iteration on the image", "meta-iteration through the parameters"
TARGETS = [
    Target("step", f"{_ON_IMAGE} K = 1, batch 4, 96×96, graph", 12),
    Target("step", f"{_THROUGH} K = 1, batch 4, 96×96, graph", 24),
    Target("step", f"{_ON_IMAGE} K = 1, batch 8, 256×256, graph", 100),
    Target("step", f"{_ON_IMAGE} K = 1, batch 8, 256×256, eager", 4000, peak=True),
    Target("step", f"{_THROUGH} K = 1, batch 8, 256×256, graph", 200),
    Target(
        "step",
        f"{_ON_IMAGE} K = 3, batch 4, 96×96, graph",
        3,
        of=f"{_ON_IMAGE} K = 1, batch 4, 96×96, graph",
    ),
    Target("step", "fusion update, batch 4, 96×96, graph", 4),
    Target("epoch", "600 meta-iterations and a pass over 150 pairs", 10),
    Target("inference", "640×480, in tiles", 4),
    Target("inference", "4096×3072, in tiles", 500),
    Target("inference", "4096×3072, in tiles", 4000, peak=True),
    Target("trials", "16 at a time in one process", 8, of="1 at a time in one process", at_least=True),
]


def target_rows(rows: Sequence[Row]) -> Iterator[Row]:
    """A row for each target: the number, and by how much it is missed; a note where it was not measured."""
    numbers = {(row.section, row.what): row for row in rows}
    for target in TARGETS:
        row, divisor = (numbers.get((target.section, what)) for what in (target.what, target.of))
        value = math.nan if row is None else row.peak_mb if target.peak else row.value
        unit = "MB" if target.peak else "" if row is None else row.unit
        what = target.what + (", peak" if target.peak else "")
        if target.of:
            value, unit = value / (math.nan if divisor is None else divisor.value), "×"
            what += f", against {target.of}"
        limit = f"{'at least' if target.at_least else 'at most'} {target.limit:g}"
        yield Row("targets", what, value, unit, note=f"{limit}: {_judged(value, target)}")


def _judged(value: float, target: Target) -> str:
    if math.isnan(value):
        return "not measured"
    missed = target.limit - value if target.at_least else value - target.limit
    return "met" if missed <= 0 else f"missed by {missed:.3g}"
