"""Table of an ablation: each variant's scores over seeds, and its test against the variant `learned`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from refusion.ablations.variants import LEARNED
from refusion.errors import UserError
from refusion.evaluation.formats import as_markdown
from refusion.evaluation.ranking import QUALITY, RANKINGS, rank_cells
from refusion.evaluation.table import SIGNIFICANT, Cell, Table, is_higher_better, number_text
from refusion.metrics import METRICS
from refusion.reporting.comparison.words import p_text
from refusion.results.method_tables import LEVEL
from refusion.results.scores import read_table
from refusion.statistics import holm, paired_tests
from refusion.tasks import find_task

KEYS = ["task", "variant", "equal", "seed"]
WITHOUT_LEARNING = ("half", "saliency", "random direction")
"""Variants in which nothing is learned, or nothing but noise."""

_ALL_FOUR = "all four"
_DIGITS = {"EN": 3, "SD": 2, "SF": 2, "AG": 2}


def read_ablations(files: Sequence[Path]) -> pd.DataFrame:
    """Reads and joins the CSV files of analysis/ablations.py.

    Raises:
        UserError: a file is none of them, or two hold the same training.
    """
    columns = [*KEYS, "name", *METRICS, "seconds"]
    parts = [read_table(file, columns, [*METRICS, "seconds"]) for file in files]
    if not parts:
        return pd.DataFrame(columns=columns)
    table = pd.concat(parts, ignore_index=True)
    twice = table[table.duplicated([*KEYS, "name"])]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(f"{files[-1]}: {row['task']} {row['variant']}, seed {row['seed']}, stands in two files")
    return table


def ablation_table(task: str, rows: pd.DataFrame) -> str:
    """Returns a task's variants in Markdown: mean ± deviation over seeds, ranks, tests against `learned`.

    Args:
        task: its name.
        rows: of that task, `learned` among them.
    """
    labelled = rows.assign(label=_labels(rows))
    of_seeds = labelled.groupby(["label", "seed"], sort=False)[list(METRICS)].mean()
    labels = list(dict.fromkeys(labelled["label"]))
    means = of_seeds.groupby("label").mean().loc[labels]
    deviations = of_seeds.groupby("label").std().loc[labels]
    seeds = labelled.groupby("label")["seed"].nunique()
    seconds = labelled.groupby(["label", "seed"])["seconds"].first().groupby("label").mean()
    tests = against_learned(rows)
    body = []
    for label, ranks in zip(labels, rank_cells(means), strict=True):
        cells = [Cell(label), Cell(str(seeds[label]))]
        for metric in METRICS:
            sign = SIGNIFICANT if _is_sure(tests, label, metric) else ""
            digits = _DIGITS.get(metric, 4)
            deviation = deviations.loc[label, metric]
            spread = "" if math.isnan(deviation) else f" ± {number_text(deviation, digits)}"
            cells.append(Cell(number_text(means.loc[label, metric], digits) + spread, sign))
        cells += [*ranks, Cell(_overall(tests, label)), Cell(number_text(seconds[label], 0))]
        body.append(tuple(cells))
    heads = ("variant", "seeds", *METRICS, *RANKINGS, f"{LEARNED} is ahead by", "seconds")
    pairs = rows["name"].nunique()
    notes = [
        f"Means over {pairs} pairs, ± standard deviation over the seeds.",
        f"{SIGNIFICANT} differs from {LEARNED}, p below {LEVEL} (Wilcoxon signed-rank test over the pairs, each "
        "averaged over the seeds that both have, Holm-corrected for all of the table).",
        f"{LEARNED} is ahead by: share of {', '.join(QUALITY)} in which {LEARNED} is better on a pair, less the share "
        "in which it is worse, mean over the pairs; p of the same test, Holm-corrected for its column.",
        "Seconds are those of training, without validation.",
    ]
    return as_markdown(Table(heads, tuple(body)), f"{find_task(task).name}: ablations", notes)


def learning_table(rows: pd.DataFrame, against: Sequence[str] = WITHOUT_LEARNING) -> str:
    """Returns in Markdown, per task, if learning the loss is ahead of the same training without.

    Args:
        rows: of all tasks.
        against: variants without learning.
    """
    body = []
    for task, of_task in rows.groupby("task", sort=False):
        tests = against_learned(of_task)
        for label in dict.fromkeys(tests["method"]):
            if str(label).partition(",")[0] not in against:
                continue
            found = tests[(tests["method"] == label) & (tests["metric"] == _ALL_FOUR)].iloc[0]
            is_ahead = found["difference"] < 0 and found["p"] < LEVEL
            seeds = of_task[_labels(of_task) == label]["seed"].nunique()
            numbers = (str(seeds), str(found["pictures"]), number_text(-found["difference"], 3), p_text(found["p"]))
            cells = (str(task), str(label), *numbers)
            body.append((*map(Cell, cells), Cell("yes" if is_ahead else "no", highlight="best" if is_ahead else "")))
    notes = [
        f"Ahead by: share of {', '.join(QUALITY)} in which {LEARNED} is better on a pair, less the share in which it "
        "is worse, mean over the pairs, each metric averaged over the seeds first.",
        "p: Wilcoxon signed-rank test over the pairs, two-sided, not corrected: one test a row.",
    ]
    heads = ("task", f"{LEARNED} against", "seeds", "pairs", "ahead by", "p", f"ahead, p below {LEVEL}")
    return as_markdown(Table(heads, tuple(body), stub=2), "Learning the loss against the same training without", notes)


def against_learned(rows: pd.DataFrame) -> pd.DataFrame:
    """Tests each variant against `learned` over the pairs, each averaged over the seeds that both have.

    Returns:
        As ``paired_tests``; the metric "all four" is the mean sign of the differences in ``QUALITY``.
    """
    parts = dict(iter(rows.groupby(_labels(rows).rename("label"), sort=False)))
    first = parts.pop(LEARNED, None)
    if first is None:
        raise UserError(f"there is no variant {LEARNED!r} of {', '.join(dict.fromkeys(rows['task']))} to compare with")
    tests = [_against(first, part, str(label)) for label, part in parts.items()]
    if not tests:
        return pd.DataFrame(columns=["method", "metric", "difference", "p", "p_holm", "pictures", "better"])
    of_metrics, of_all = (pd.concat(some, ignore_index=True) for some in zip(*tests, strict=True))
    # The metrics are corrected together, and the column of all four by itself.
    for table in (of_metrics, of_all):
        table["p_holm"] = holm(table["p"].to_numpy())
    found: pd.DataFrame = pd.concat([of_metrics, of_all], ignore_index=True)
    return found


def _against(first: pd.DataFrame, part: pd.DataFrame, label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tests a variant against `learned`, metric by metric and over all four; p_holm is of no use yet."""
    seeds = set(first["seed"]) & set(part["seed"])
    before, frame = (table[table["seed"].isin(seeds)].groupby("name")[list(METRICS)].mean() for table in (first, part))
    zeros = pd.DataFrame({_ALL_FOUR: 0.0}, index=before.index)
    return (
        paired_tests(before, {label: frame}, is_higher_better(METRICS)),
        paired_tests(zeros, {label: _wins(before, frame)}, {_ALL_FOUR: True}),
    )


def _wins(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Returns per pair the mean sign of other − first over ``QUALITY``; all four are better where they are higher."""
    shared = first.index.intersection(other.index)
    differences = (other.loc[shared, list(QUALITY)] - first.loc[shared, list(QUALITY)]).dropna()
    signs = (differences > 0).astype(float) - (differences < 0).astype(float)
    return pd.DataFrame({_ALL_FOUR: signs.mean(axis="columns")})


def _labels(rows: pd.DataFrame) -> pd.Series:
    endings: Mapping[str, str] = {"steps": "", "time": ", equal time"}
    return rows["variant"] + rows["equal"].map(endings)


def _is_sure(tests: pd.DataFrame, label: str, metric: str) -> bool:
    found = tests[(tests["method"] == label) & (tests["metric"] == metric)]["p_holm"]
    return bool((found < LEVEL).any())


def _overall(tests: pd.DataFrame, label: str) -> str:
    found = tests[(tests["method"] == label) & (tests["metric"] == _ALL_FOUR)]
    if found.empty:
        return "–"
    row = found.iloc[0]
    return f"{-row['difference']:+.2f} (p {p_text(row['p_holm'])})"
