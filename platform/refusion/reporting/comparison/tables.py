"""Tables of a comparison as cells: scores with ranks, differences with tests, standings with costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import pandas as pd

from refusion.evaluation.ranking import RANKINGS, Highlight, means_of, rank_cells
from refusion.evaluation.results import MethodScores
from refusion.evaluation.table import Cell, Table, number_text, table_of_several
from refusion.metrics import METRICS
from refusion.reporting.comparison.groups import Group
from refusion.reporting.comparison.measures import HIGHER, LEVEL
from refusion.reporting.comparison.words import count_text, p_text
from refusion.statistics import mean_interval


def score_cells(methods: Sequence[MethodScores], differing: Collection[tuple[str, str]] = ()) -> Table:
    """Returns mean scores with intervals and ranks, and both mean ranks; the best bold, the second underlined.

    Args:
        methods: with all eight metrics.
        differing: (method, metric) of the cells that get a dagger.
    """
    intervals = {
        method.name: {metric: mean_interval(method.frame[metric].to_numpy()) for metric in METRICS}
        for method in methods
    }
    table = table_of_several(intervals, HIGHER, differing)
    # The mean rank over the eight stands in its last column already, under a head of its own.
    rows = tuple((*row[:-1], *ranks) for row, ranks in zip(table.rows, rank_cells(means_of(methods)), strict=True))
    return Table((*table.heads[:-1], *RANKINGS), rows)


def differing_cells(scores: pd.DataFrame) -> set[tuple[str, str]]:
    """Returns (run, metric) of what differs from the baseline for sure, from ``scores_of``."""
    sure = scores[scores["p_holm"] < LEVEL]
    return set(zip(sure["run"], sure["metric"], strict=True))


def difference_cells(group: Group, scores: pd.DataFrame) -> Table:
    """Returns each method − the baseline with p and interval; better for sure is bold, worse for sure underlined.

    Args:
        group: of which they are.
        scores: ``scores_of`` it.
    """
    rows = []
    for name in group.others:
        cells = [Cell(name)]
        for row in scores[scores["run"] == name].to_dict("records"):
            sure = row["p_holm"] < LEVEL
            mark: Highlight = ("best" if row["better"] else "second") if sure else ""
            ends = ""
            if not math.isnan(row["difference_low"]):
                ends = f"[{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"
            mean = "–" if math.isnan(row["difference"]) else f"{row['difference']:+z.4f}"
            cells.append(Cell(mean, f" (p {p_text(row['p_holm'])})", ends, mark))
        rows.append(tuple(cells))
    return Table((f"less {group.baseline}", *METRICS), tuple(rows))


def standing_cells(standings: pd.DataFrame) -> Table:
    """Returns ranks, the front and the costs of each method, from ``standings_of``."""
    heads = ("method", *RANKINGS, "on the front", "best epoch", "pairs seen", "CPU-seconds", "GPU-seconds")
    rows = []
    for name, row in standings.iterrows():
        epoch = "–" if math.isnan(row["epoch"]) else f"{row['epoch']:.0f} of {row['epochs']:.0f}"
        costs = (count_text(row[column]) for column in ("pairs_seen", "cpu_seconds", "gpu_seconds"))
        ranks = (number_text(row[column], 2) for column in ("rank_all", "rank_quality"))
        texts = (str(name), *ranks, "yes" if row["front"] else "no", epoch, *costs)
        rows.append(tuple(Cell(text) for text in texts))
    return Table(heads, tuple(rows))
