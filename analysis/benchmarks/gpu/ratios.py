"""Ratios of a step's rows to the textbook's, known once all are measured, in whatever order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gpu.rows import Row
from gpu.steps import ON_IMAGE, TEXTBOOK, THROUGH


def with_times(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of steps with ``times`` where the textbook was measured at the same size."""
    textbook = {size: row.value for row in rows for size, way in [_divided(row)] if way == TEXTBOOK}
    return [
        replace(row, times=textbook.get(_divided(row)[0], math.nan) / row.value) if row.section == "step" else row
        for row in rows
    ]


def _divided(row: Row) -> tuple[str, str]:
    """Part and size as the textbook has them, and the way."""
    if row.section != "step" or row.what.count(", ") < 3:
        return "", ""
    *size, way = row.what.split(", ", 3)
    # On the image there is no textbook: its meta-iteration is what both of ours are compared with.
    return ", ".join(size).replace(ON_IMAGE, THROUGH), way
