"""Parts of the results page on other pairs and other ways to train: adapted, one for all, unseen data sets, folds,
equal time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from refusion.ablations.variants import LEARNED
from refusion.evaluation.methods import ADAPTED
from refusion.metrics import METRICS
from refusion.results.ablation_table import learning_table, read_ablations
from refusion.results.paired_table import paired_table
from refusion.results.scores import read_score_file
from refusion.tasks import TASKS

OfTask = Callable[[str], pd.DataFrame | None]
"""Scores of our modules on a task's val pairs, pairs × metrics."""


def adapted_part(folder: Path, ours: OfTask) -> str | None:
    """Compares the modules that come along with the same adapted to the val pairs: ``adapted/TASK.csv``."""
    by_task = {}
    for task in TASKS:
        file, before = folder / "adapted" / f"{task}.csv", ours(task)
        if file.is_file() and before is not None:
            scored = read_score_file(file)
            # Beside them stand the same modules as they come.
            by_task[task] = (before, next((one for one in scored if one.name.endswith(ADAPTED)), scored[0]).frame)
    return paired_table("Adapted to the pictures", ("as they come", "adapted"), by_task, ()) if by_task else None


def one_for_all_part(folder: Path, ours: OfTask) -> str | None:
    """Compares the four modules with one that was trained on all tasks: ``one_for_all.csv``."""
    file = folder / "one_for_all.csv"
    if not file.is_file():
        return None
    rows = read_ablations([file]).set_index("name")[list(METRICS)]
    by_task = {}
    for task in TASKS:
        prefix, before = f"{task.lower()}_", ours(task)
        of_task = rows[rows.index.str.startswith(prefix)]
        if before is not None and len(of_task):
            by_task[task] = (before, of_task.set_axis(of_task.index.str.removeprefix(prefix)))
    return paired_table("One module for all four tasks", ("its own", "one for all"), by_task, ()) if by_task else None


def unseen_part(folder: Path, rows: pd.DataFrame) -> str | None:
    """Compares trainings with and without a val pair's data set: ``unseen.csv`` against ``rows`` of the ablations."""
    file = folder / "unseen.csv"
    if not file.is_file():
        return None
    unseen = read_ablations([file])
    by_task, seeds = {}, set(unseen["seed"])
    seen = rows[(rows["variant"] == LEARNED) & (rows["equal"] == "steps") & rows["seed"].isin(seeds)]
    for task in TASKS:
        first, other = (_means(table[table["task"] == task]) for table in (seen, unseen))
        if len(first) and len(other):
            by_task[task] = (first, other)
    notes = (f"Each pair's data set was trained on (seen), or all of it was left out (unseen); seeds {_texts(seeds)}.",)
    return paired_table("Data sets that were not trained on", ("seen", "unseen"), by_task, notes) if by_task else None


def learning_part(folder: Path, name: str) -> str | None:
    """Tests if learning helps: in ``folds.csv`` on all pairs, each scored by a training that has not seen it, and in
    ``equal_time.csv`` against as long a training without.
    """
    file = folder / f"{name}.csv"
    return learning_table(read_ablations([file])) if file.is_file() else None


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns pairs × metrics, means over the seeds."""
    return rows.groupby("name")[list(METRICS)].mean()


def _texts(seeds: set[int]) -> str:
    return " ".join(map(str, sorted(seeds)))
