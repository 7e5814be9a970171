"""Growth of our meta-gradient's cost with the pixels, the batch and the inner steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.console import RenderableType
from step_gradient import OURS, prepared
from step_measuring import Say, Size, medians_in_turn, ratio, shown, table_of

BATCHES = (1, 2, 4, 8)
INNER_STEPS = (1, 2, 3, 4)


class Row(NamedTuple):
    """One size, and the amount of what is varied in its group."""

    what: str
    amount: int
    size: Size


def groups(size: Size) -> list[list[Row]]:
    """Half the crop, the crop and half as much again at K = 1; then batches at K = 1; then inner steps."""
    one = size._replace(inner_steps=1)
    crops = (size.crop // 2, size.crop, size.crop * 3 // 2)
    return [
        [Row(f"{crop}×{crop}", crop**2, one._replace(crop=crop)) for crop in crops],
        [Row(f"batch {batch}", batch, one._replace(batch=batch)) for batch in BATCHES],
        [Row(f"K = {steps}", steps, size._replace(inner_steps=steps)) for steps in INNER_STEPS],
    ]


def sizes(size: Size) -> list[Size]:
    """Each size of the sweep once."""
    return list(dict.fromkeys(row.size for group in groups(size) for row in group))


def section(size: Size, peaks: Mapping[Size, float], repeats: int, say: Say) -> list[RenderableType]:
    """Time every size in turn: a table."""
    calls = {one: prepared(OURS, one) for one in sizes(size)}
    seconds, _ = medians_in_turn(calls, repeats, size.device, say)
    table = table_of(
        f"Cost of the meta-gradient around {size._replace(inner_steps=1)} (growth 1.00: as fast as what is varied)",
        "seconds",
        "seconds per megapixel fed",
        "growth",
        "peak MB",
        "growth",
    )
    for group in groups(size):
        for row in group:
            spent, peak = seconds[row.size], peaks[row.size]
            table.add_row(
                row.what,
                f"{spent:.3f}",
                f"{spent / megapixels_fed(row.size):.2f}",
                shown(growth(group[0], row, seconds), ".2f"),
                shown(peak / 1e6, ".0f"),
                shown(growth(group[0], row, peaks), ".2f"),
            )
        table.add_section()
    return [table]


def megapixels_fed(size: Size) -> float:
    """Pixels, in millions, of the K batches of the inner steps and the one that the outer loss is measured on."""
    return (size.inner_steps + 1) * size.batch * size.crop**2 / 1e6


def growth(first: Row, row: Row, cost: Mapping[Size, float]) -> float:
    """Growth of the cost since the first row, divided by that of the amount: 1 is linear."""
    return ratio(cost[row.size], cost[first.size]) / (row.amount / first.amount)
