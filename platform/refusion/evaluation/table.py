"""Score tables as cells: numbers as texts, with ranks and footnote signs, before any format is applied."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from refusion.evaluation.results import REFERENCE
from refusion.metrics import CATALOGUE
from refusion.statistics import MeanInterval, rank_table

Array = npt.NDArray[np.float64]

NO_VALUE = "–"
UP, DOWN = "↑", "↓"
SIGNIFICANT, INCOMPLETE = "†", "‡"
_SIGNIFICANT_DIGITS = 4
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the first line.
        suffix: footnote signs and the rank, which are never highlighted.
        second_line: the interval, or empty.
        highlight: "best" or "second" of a column, or empty.
    """

    text: str
    suffix: str = ""
    second_line: str = ""
    highlight: Literal["best", "second", ""] = ""


@dataclass(frozen=True)
class Table:
    """Heads and rows of one length; the first ``stub`` columns name the row and are aligned left."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    stub: int = 1


def is_higher_better(columns: Iterable[str]) -> dict[str, bool]:
    """Returns the direction of each column of a ``MethodScores``; ``ref_NAME`` has that of NAME."""
    return {column: CATALOGUE[column.removeprefix(REFERENCE)].direction == "higher" for column in columns}


def table_of_one(intervals: Mapping[str, MeanInterval], higher: Mapping[str, bool]) -> Table:
    """Returns a table with a row per metric of one method."""
    rows = []
    for metric, interval in intervals.items():
        decimals = _decimals([interval.mean])
        mean = Cell(number_text(interval.mean, decimals), _gap_sign(interval))
        used = str(interval.used) + (f" of {interval.used + interval.undefined}" if interval.undefined else "")
        rows.append(
            (Cell(metric), Cell(arrow(higher[metric])), mean, Cell(_interval_text(interval, decimals)), Cell(used))
        )
    return Table(("metric", "better", "mean", "95 % interval", "pictures"), tuple(rows), 2)


def table_of_several(
    intervals: Mapping[str, Mapping[str, MeanInterval]],
    higher: Mapping[str, bool],
    significant: Collection[tuple[str, str]] = (),
) -> Table:
    """Returns a table with a row per method, a column per metric and the average rank.

    Args:
        intervals: by method and metric, every method with the same metrics.
        higher: True where higher is better, by metric.
        significant: (method, metric) of the cells to mark.
    """
    means = pd.DataFrame({name: {key: one.mean for key, one in row.items()} for name, row in intervals.items()}).T
    means = means.reindex(columns=list(higher))
    ranking = rank_table(means, higher)
    average = _average_ranks(ranking)
    decimals = {metric: _decimals(means[metric]) for metric in higher}
    rows = []
    for index, (name, row) in enumerate(intervals.items()):
        cells = [Cell(name)]
        for column, (metric, better) in enumerate(higher.items()):
            sign = SIGNIFICANT if (name, metric) in significant else ""
            cells.append(
                Cell(
                    number_text(row[metric].mean, decimals[metric]),
                    sign + _gap_sign(row[metric]) + _rank_text(ranking.to_numpy()[index, column]),
                    _interval_text(row[metric], decimals[metric]),
                    _highlight(means[metric].to_numpy(), index, better),
                )
            )
        cells.append(Cell(number_text(average[index], 2), highlight=_highlight(average, index, higher=False)))
        rows.append(tuple(cells))
    heads = ("method", *(f"{metric} {arrow(better)}" for metric, better in higher.items()), "average rank")
    return Table(heads, tuple(rows))


def arrow(higher: bool) -> str:
    """Returns the arrow that points to the better scores."""
    return UP if higher else DOWN


def number_text(value: float, decimals: int) -> str:
    """Returns a number for a table; a dash for NaN."""
    if math.isnan(value):
        return NO_VALUE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:z.{decimals}f}"


def _decimals(values: Iterable[float]) -> int:
    """Returns enough decimals for four significant digits of the largest value and for telling values apart."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    largest = max(finite, default=0.0)
    decimals = _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest)) if largest > 0 else _SIGNIFICANT_DIGITS
    decimals = min(max(decimals, 1), _MOST_DECIMALS)
    different = {float(f"{value:.{_MOST_DECIMALS}f}") for value in finite}
    while decimals < _MOST_DECIMALS and len({f"{value:.{decimals}f}" for value in finite}) < len(different):
        decimals += 1
    return decimals


def _interval_text(interval: MeanInterval, decimals: int) -> str:
    if math.isnan(interval.low):
        return NO_VALUE
    return f"[{number_text(interval.low, decimals)}, {number_text(interval.high, decimals)}]"


def _gap_sign(interval: MeanInterval) -> str:
    return INCOMPLETE if interval.undefined else ""


def _rank_text(rank: float) -> str:
    return "" if math.isnan(rank) else f" ({rank:g})"


def _average_ranks(ranking: pd.DataFrame) -> Array:
    """Returns the average rank by method; NaN where a method lacks a metric that another has."""
    average = ranking.dropna(axis="columns", how="all").mean(axis="columns", skipna=False)
    return average.to_numpy(np.float64)


def _highlight(column: Array, row: int, higher: bool) -> Literal["best", "second", ""]:
    """Returns the cell's highlight; equal values share it, and no cell has one where all are equal."""
    different = np.unique(column[~np.isnan(column)])
    if len(different) < 2:
        return ""
    best, second = different[::-1][:2] if higher else different[:2]
    return "best" if column[row] == best else "second" if column[row] == second else ""
