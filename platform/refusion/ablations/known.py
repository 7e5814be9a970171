"""Rows of trainings that were done before, elsewhere, so that none is done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from refusion.ablations.cell import Cell
from refusion.errors import UserError

Key = tuple[str, str, str, int]
_KEYS = ["task", "variant", "equal", "seed"]
_STEPS = ["meta_iterations", "fusion_steps"]


def read_known(files: Sequence[Path]) -> dict[Key, pd.DataFrame]:
    """Reads tables of earlier ablations.

    Args:
        files: as ``ablations.csv`` of a run.

    Returns:
        Rows by (task, variant, equal, seed), a row per pair.

    Raises:
        UserError: a file cannot be read, or is no such table.
    """
    found: dict[Key, pd.DataFrame] = {}
    for file in files:
        try:
            # Names such as 00012 are texts.
            table = pd.read_csv(file, dtype={"name": str})
        except (OSError, ValueError) as error:
            raise UserError(f"--known {file}: cannot be read as a table ({error})") from error
        missing = [column for column in [*_KEYS, *_STEPS, "name"] if column not in table]
        if missing:
            raise UserError(f"--known {file}: has no column {', '.join(missing)}; give an ablations.csv")
        for key, rows in table.groupby(_KEYS, sort=False):
            task, variant, equal, seed = map(str, key)
            found[task, variant, equal, int(seed)] = rows
    return found


def rows_known(known: Mapping[Key, pd.DataFrame], cell: Cell) -> pd.DataFrame | None:
    """Returns the rows of a cell, or None where its training is not known.

    Raises:
        UserError: they are of another number of steps, or of other val pairs.
    """
    rows = known.get((cell.pairs.task, cell.variant.name, cell.equal, cell.settings.seed))
    if rows is None:
        return None
    schedule = cell.settings.schedule
    pairs = sorted(pair.name for pair in cell.pairs.val)
    if sorted(rows["name"]) != pairs:
        raise UserError(f"--known: {cell.name} was scored on other pairs than the {len(pairs)} of val")
    meta, fusion = schedule.epochs * schedule.meta_iterations, schedule.fusion_steps
    differ = rows["meta_iterations"].iloc[0] != meta
    if differ or (fusion is not None and rows["fusion_steps"].iloc[0] != schedule.epochs * fusion):
        raise UserError(
            f"--known: {cell.name} has {rows['meta_iterations'].iloc[0]} meta-iterations and "
            f"{rows['fusion_steps'].iloc[0]} fusion updates, other than these settings; leave the file out"
        )
    return rows
