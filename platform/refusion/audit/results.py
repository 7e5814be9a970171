"""The files of an audit: a row per fit, and beside it a row per fit and val pair, from which intervals are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from refusion.audit.options import FitOptions
from refusion.errors import UserError
from refusion.evaluation.csv_file import csv_text, write_atomically
from refusion.metrics import METRICS
from refusion.metrics.lookup import DEFAULT_CONVENTION

REWARD = "reward"
SETTING = ("reward_name", "channel_noise", "width", "steps", "batch", "crop", "from_fused")
"""Columns of one question that is put to all methods and seeds."""

KEY = ("task", "method", "digest", *SETTING, "seed", "train_pairs", "val_pairs")
"""Columns that say which fit a row is of."""


@dataclass(frozen=True)
class FitKey:
    """Identity of a fit: two of equal identity have equal results.

    Attributes:
        task, method: names.
        digest: of the method and of all sources.
        reward_name: as it was given on the command line.
        options: of the fit.
        train_pairs, val_pairs: their numbers.
    """

    task: str
    method: str
    digest: str
    reward_name: str
    options: FitOptions
    train_pairs: int
    val_pairs: int

    def values(self) -> dict[str, object]:
        """Returns the value of each column of ``KEY``."""
        found = {**{name: getattr(self, name) for name in vars(self) if name != "options"}, **asdict(self.options)}
        return {name: found[name] for name in KEY}


class AuditFile:
    """Rows of the fits that are done, on disk after each.

    Args:
        file: of the rows; those of single val pairs stand beside it in ``NAME_pairs.csv``.

    Raises:
        UserError: a file exists and is none of an audit.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.pairs_file = file.with_name(f"{file.stem}_pairs.csv")
        self.rows = _read(file, ("method", REWARD, *METRICS, "convention", *KEY, "seconds"))
        self.pairs = _read(self.pairs_file, ("method", "pair", REWARD, *METRICS, *KEY))
        self._done = {_identity(row) for row in self.rows.to_dict("records")}

    def has(self, key: FitKey) -> bool:
        """Returns True where this fit is done."""
        return _identity(key.values()) in self._done

    def add(
        self, key: FitKey, names: list[str], losses: list[float], scores: dict[str, list[float]], seconds: float
    ) -> None:
        """Writes a fit's rows.

        Args:
            key: its identity.
            names, losses: of the val pairs.
            scores: of the val pairs, by metric.
            seconds: that the fit took.

        Raises:
            UserError: a file cannot be written.
        """
        values = key.values()
        new = pd.DataFrame({"pair": names, REWARD: losses, **scores}).assign(**values)  # type: ignore[arg-type]
        old = self.pairs
        if len(old):
            # An interruption between the two files leaves pairs without their row.
            old = old[[_identity(row) != _identity(values) for row in old.to_dict("records")]]
        self.pairs = pd.concat([old, new[list(self.pairs)]], ignore_index=True) if len(old) else new[list(self.pairs)]
        row: dict[Any, Any] = {"convention": DEFAULT_CONVENTION, "seconds": round(seconds, 2), **values}
        row |= new[[REWARD, *METRICS]].mean().to_dict()
        added = pd.DataFrame([row])[list(self.rows)]
        self.rows = pd.concat([self.rows, added], ignore_index=True) if len(self.rows) else added
        write_atomically(self.pairs_file, csv_text(self.pairs))
        write_atomically(self.file, csv_text(self.rows))
        self._done.add(_identity(values))

    def pairs_of(self, keys: list[FitKey]) -> pd.DataFrame:
        """Returns the rows of these fits' val pairs."""
        wanted = {_identity(key.values()) for key in keys}
        return self.pairs[[_identity(row) in wanted for row in self.pairs.to_dict("records")]]


def _identity(values: Mapping[Any, Any]) -> tuple[str, ...]:
    # Numbers of a file come back as floats or whole numbers, as their column happens to be.
    return tuple(f"{value:g}" if isinstance(value, int | float) else str(value) for value in map(values.get, KEY))


def _read(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    names = list(dict.fromkeys(columns))
    if not file.exists():
        return pd.DataFrame(columns=names)
    try:
        # Digests of digits alone are no numbers.
        table = pd.read_csv(file, dtype={"digest": str, "method": str, "pair": str})
    except (OSError, ValueError) as error:
        raise UserError(f"--out {file}: cannot be read as the file of an audit; name another") from error
    if list(table) != names:
        raise UserError(f"--out {file}: exists and is no file of an audit; name another")
    return table
