"""Scores of a task by method, read from the CSV files that evaluations have written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from refusion.errors import UserError
from refusion.evaluation.results import MethodScores
from refusion.metrics import METRICS
from refusion.metrics.lookup import DEFAULT_CONVENTION


def read_table(file: Path, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Reads a CSV file; names and methods stay texts, whatever they look like.

    Args:
        file: of a table.
        columns: those that it must have.
        numbers: those of them that must hold numbers, or nan.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a text where a number belongs.
    """
    texts = dict.fromkeys(("name", "method", "pair", "digest", "variant"), str)
    try:
        table = pd.read_csv(file, dtype=texts)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as a table ({error})") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{file}: has no column {', '.join(missing)}")
    for column in numbers:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise UserError(f"{file}: the column {column} holds something that is no number")
    return table


def read_scores(folder: Path, task: str) -> list[MethodScores]:
    """Reads the scores of all methods of a task, in the order of the files and within them.

    Args:
        folder: holds ``TASK.csv`` of jobs/evaluate.py, and ``TASK-METHOD.csv`` of single methods, if any.
        task: its name.

    Returns:
        Nothing where there is no such file.

    Raises:
        UserError: a file is no table of scores in the default convention, a method comes twice, or the methods were
            not scored on the same pairs.
    """
    found: dict[str, MethodScores] = {}
    for file in [folder / f"{task}.csv", *sorted(folder.glob(f"{task}-*.csv"))]:
        for method in read_score_file(file) if file.is_file() else []:
            if method.name in found:
                raise UserError(f"{file}: the scores of {method.name!r} stand in another file too")
            found[method.name] = method
    methods = list(found.values())
    for method in methods[1:]:
        if not method.frame.index.equals(methods[0].frame.index):
            raise UserError(
                f"{folder}: {methods[0].name!r} and {method.name!r} of {task} are scored on different pairs"
            )
    return methods


def read_score_file(file: Path) -> list[MethodScores]:
    """Reads the scores that jobs/evaluate.py has written; those of one method are named by the end of the file's name.

    Raises:
        UserError: the file is no table of scores in the default convention.
    """
    table = read_table(file, ["name", *METRICS, "convention"], METRICS)
    if set(table["convention"]) != {DEFAULT_CONVENTION}:
        raise UserError(f"{file}: must hold scores of the convention {DEFAULT_CONVENTION!r} alone")
    if "method" not in table:
        table["method"] = file.stem.partition("-")[2] or "ours"
    return [
        MethodScores(
            str(method), DEFAULT_CONVENTION, rows.set_index("name")[list(METRICS)].astype("float64").sort_index()
        )
        for method, rows in table.groupby("method", sort=False)
    ]
