"""Tables of a task's methods: scores with intervals and ranks, and tests of ours against each other one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from refusion.evaluation.formats import as_markdown
from refusion.evaluation.ranking import Highlight
from refusion.evaluation.results import MethodScores
from refusion.evaluation.table import SIGNIFICANT, Cell, Table, is_higher_better
from refusion.metrics import METRICS
from refusion.reporting.comparison.tables import score_cells
from refusion.reporting.comparison.words import p_text
from refusion.statistics import paired_tests
from refusion.tasks import find_task

LEVEL = 0.05
_TEST = "Wilcoxon signed-rank test over the pairs, two-sided, Holm-corrected for all tests of the table"


def score_table(task: str, methods: Sequence[MethodScores], ours: str) -> str:
    """Returns mean scores with intervals, ranks and both mean ranks, in Markdown.

    Args:
        task: named in the caption.
        methods: at least two, with the same metrics.
        ours: the method that the others are tested against; without it nothing is.
    """
    tests = _tests(methods, ours)
    sure = tests[tests["p_holm"] < LEVEL]
    differing = set(zip(sure["method"], sure["metric"], strict=True))
    notes = [
        "↑ higher is better; in parentheses the rank, ties averaged. Best bold, second-best underlined.",
        "[…]: 95 % interval, percentile bootstrap over the pairs.",
    ]
    if differing:
        notes.append(f"{SIGNIFICANT} differs from {ours}, p below {LEVEL} ({_TEST}).")
    return as_markdown(score_cells(methods, differing), _caption(task, methods), notes)


def comparison_table(task: str, methods: Sequence[MethodScores], ours: str) -> str:
    """Returns the differences of ours from each other method with their p values, in Markdown.

    Args:
        task: named in the caption.
        methods: ours and at least one other.
        ours: its name.
    """
    tests = _tests(methods, ours)
    rows = []
    for method, of_method in tests.groupby("method", sort=False):
        cells = [Cell(str(method))]
        for row in of_method.to_dict("records"):
            # The test's difference is that of the other method from ours.
            is_sure = not math.isnan(row["p_holm"]) and row["p_holm"] < LEVEL
            mark: Highlight = ("second" if row["better"] else "best") if is_sure else ""
            cells.append(Cell(f"{-row['difference']:+z.3f}", f" (p {p_text(row['p_holm'])})", highlight=mark))
        rows.append(tuple(cells))
    notes = [
        f"{ours} minus the method, mean over the pairs. Bold: {ours} is better, p below {LEVEL}; underlined: worse.",
        f"p: {_TEST}.",
    ]
    return as_markdown(Table((f"{ours} against", *METRICS), tuple(rows)), _caption(task, methods), notes)


def _tests(methods: Sequence[MethodScores], ours: str) -> pd.DataFrame:
    frames = {method.name: method.frame for method in methods}
    first = frames.pop(ours, None)
    if first is None:
        first, frames = methods[0].frame, {}
    return paired_tests(first, frames, is_higher_better(METRICS))


def _caption(task: str, methods: Sequence[MethodScores]) -> str:
    named = find_task(task)
    return f"{named.name} ({named.title} fusion), {len(methods[0].frame)} pairs, convention {methods[0].convention}"
