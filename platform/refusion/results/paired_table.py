"""Table of two ways to fuse by task: both means of each quality metric, their difference with its interval, a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from refusion.evaluation.formats import as_markdown
from refusion.evaluation.ranking import QUALITY
from refusion.evaluation.table import Cell, Table, is_higher_better, number_text
from refusion.reporting.comparison.words import p_text
from refusion.results.method_tables import LEVEL
from refusion.statistics import holm, mean_interval, paired_differences, paired_tests

_DIGITS = 3


def paired_table(
    title: str, names: tuple[str, str], by_task: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], notes: Sequence[str]
) -> str:
    """Returns in Markdown a row per task.

    Args:
        title: of the table.
        names: of the first way to fuse and of the other.
        by_task: scores of both, pairs × metrics; only pairs that both have are compared.
        notes: of the table, before those on the test.
    """
    tests = {
        task: paired_tests(first[list(QUALITY)], {names[1]: other[list(QUALITY)]}, is_higher_better(QUALITY))
        for task, (first, other) in by_task.items()
    }
    found = pd.concat([test.assign(task=task) for task, test in tests.items()], ignore_index=True)
    found["p_holm"] = holm(found["p"].to_numpy())
    rows = []
    for task, (first, other) in by_task.items():
        shared = first.index.intersection(other.index)
        cells = [Cell(task), Cell(str(len(shared)))]
        for metric in QUALITY:
            before, after = first.loc[shared, metric], other.loc[shared, metric]
            (test,) = found[(found["task"] == task) & (found["metric"] == metric)].to_dict("records")
            is_sure = test["p_holm"] < LEVEL
            change = mean_interval(paired_differences(before, after))
            cells.append(
                Cell(
                    f"{number_text(before.mean(), _DIGITS)} → {number_text(after.mean(), _DIGITS)}",
                    f" (p {p_text(test['p_holm'])})",
                    f"{change.mean:+z.4f} [{change.low:+z.4f}, {change.high:+z.4f}]",
                    ("best" if test["better"] else "second") if is_sure else "",
                )
            )
        rows.append(tuple(cells))
    tail = [
        f"Means over the pairs, {names[0]} → {names[1]}; below them the difference and its 95 % interval, percentile "
        f"bootstrap over the pairs. Bold: {names[1]} is better, p below {LEVEL}; underlined: worse.",
        "p: Wilcoxon signed-rank test over the pairs, two-sided, Holm-corrected for all tests of the table.",
    ]
    return as_markdown(Table(("task", "pairs", *QUALITY), tuple(rows)), title, [*notes, *tail])
