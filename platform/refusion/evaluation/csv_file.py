"""The CSV file of an evaluation: one row per image (and method), one column per metric, and the convention."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from refusion.errors import UserError
from refusion.evaluation.results import MethodScores

_UNDEFINED = "nan"


def score_table(methods: Sequence[MethodScores]) -> pd.DataFrame:
    """Joins the scores of all methods in one table.

    Returns:
        Columns ``name``, with several methods ``method``, one per metric, ``convention``; rows in the order of names,
        those of one name in the order of the methods.
    """
    parts = []
    for method in methods:
        part = method.frame.copy()
        part.insert(0, "name", part.index.astype(str))
        if len(methods) > 1:
            part.insert(1, "method", method.name)
        part["convention"] = method.convention
        parts.append(part)
    return pd.concat(parts, ignore_index=True).sort_values("name", kind="stable", ignore_index=True)


def csv_text(table: pd.DataFrame) -> str:
    """Returns the table as CSV; numbers have all their digits, an undefined one is ``nan``."""
    return table.to_csv(index=False, na_rep=_UNDEFINED, lineterminator="\n")


def check_writable(file: Path) -> Path:
    """Returns the absolute path of a file that can be written; its folder is created.

    Raises:
        UserError: the path is a folder, or nothing can be written there.
    """
    path = file.expanduser().absolute()
    if path.is_dir():
        raise UserError(f"--out {file}: is a folder; name a file, such as {file / 'scores.csv'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written ({error.strerror})") from error
    return path


def write_atomically(file: Path, text: str) -> None:
    """Writes a text file atomically: the old content stands until the new one is complete.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        descriptor, part = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            Path(part).chmod(0o666 & ~_umask())
            Path(part).replace(file)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written ({error.strerror})") from error


def _umask() -> int:
    # The only way to read it is to set it.
    """Returns the process's umask."""
    found = os.umask(0)
    os.umask(found)
    return found
