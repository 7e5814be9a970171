"""Mean ranks over metrics, the number by which methods are put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from refusion.evaluation.results import MethodScores
from refusion.evaluation.table import Cell, is_higher_better, number_text
from refusion.metrics import METRICS
from refusion.statistics import rank_table

Highlight = Literal["best", "second", ""]

QUALITY = ("SCD", "VIF", "Qabf", "SSIM")
"""Metrics that noise does not raise."""

RANKINGS: Mapping[str, Sequence[str]] = {"rank over eight": METRICS, f"rank over {', '.join(QUALITY)}": QUALITY}
"""The heads of the two columns of ranks, and the metrics that each is over."""


def means_of(methods: Sequence[MethodScores]) -> pd.DataFrame:
    """Returns the mean of each metric over the pairs on which it is defined: methods × metrics."""
    return pd.DataFrame({method.name: method.frame.mean() for method in methods}).T


def mean_ranks(means: pd.DataFrame, metrics: Sequence[str]) -> pd.Series:
    """Returns each method's mean rank over the metrics, 1 = best of all in each.

    Args:
        means: methods × metrics.
        metrics: which of them count.
    """
    return rank_table(means[list(metrics)], is_higher_better(metrics)).mean(axis="columns", skipna=False)


def rank_cells(means: pd.DataFrame) -> list[tuple[Cell, ...]]:
    """Returns, per method, a cell for each of ``RANKINGS``; the best is bold, the next underlined."""
    columns = []
    for metrics in RANKINGS.values():
        found = mean_ranks(means, metrics)
        best, second, *_ = (*sorted(set(found.dropna())), None, None)
        columns.append([Cell(number_text(value, 2), highlight=_highlight(value, best, second)) for value in found])
    return list(zip(*columns, strict=True))


def _highlight(value: float, best: float | None, second: float | None) -> Highlight:
    return "best" if value == best else "second" if value == second else ""
