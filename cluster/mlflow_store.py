"""Copies MLflow's SQLite database to the bucket, and back where a head starts with a new disk.

    python mlflow_store.py backup DATABASE STORAGE     a consistent copy, also while the server writes
    python mlflow_store.py restore DATABASE STORAGE    does nothing where DATABASE is there

STORAGE is a URI such as s3://BUCKET/refusion. Its `mlflow-backup` holds `mlflow.db`, and one copy for each day.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs

FOLDER, NEWEST = "mlflow-backup", "mlflow.db"


def backup(database: Path, storage: str) -> str:
    """Copies the database as it is now; returns a line that says so.

    Raises:
        sqlite3.Error: the database is damaged; what lies in the storage stays.
        OSError: the storage cannot be written to.
    """
    with tempfile.TemporaryDirectory(dir=database.parent) as place:
        copy = Path(place) / NEWEST
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as own,
            closing(sqlite3.connect(copy)) as new,
        ):
            own.backup(new)
        check(copy)
        filesystem, folder = pyarrow.fs.FileSystem.from_uri(f"{storage}/{FOLDER}")
        filesystem.create_dir(folder, recursive=True)
        # The day's copy first: a cut between the two leaves an older newest one, not a damaged one.
        for name in (f"{datetime.now(UTC):%Y-%m-%d}.db", NEWEST):
            _copy(pyarrow.fs.LocalFileSystem(), str(copy), filesystem, f"{folder}/{name}")
    return f"{database}: copied to {storage}/{FOLDER}/{NEWEST}"


def restore(database: Path, storage: str) -> str:
    """Brings the newest copy back where there is no database; returns a line that says what was done.

    Raises:
        sqlite3.Error: the copy is damaged; a day's copy can be put in its place.
        OSError: the storage cannot be read.
    """
    if database.exists():
        return f"{database}: is there"
    filesystem, copy = pyarrow.fs.FileSystem.from_uri(f"{storage}/{FOLDER}/{NEWEST}")
    if filesystem.get_file_info(copy).type == pyarrow.fs.FileType.NotFound:
        return f"{database}: begins anew, since {storage} has no copy"
    database.parent.mkdir(parents=True, exist_ok=True)
    new = database.with_suffix(".new")
    _copy(filesystem, copy, pyarrow.fs.LocalFileSystem(), str(new))
    check(new)
    new.rename(database)
    return f"{database}: brought back from {storage}/{FOLDER}/{NEWEST}"


def check(database: Path) -> None:
    """Raises sqlite3.DatabaseError where a database is damaged."""
    with closing(sqlite3.connect(database)) as opened:
        (said,) = opened.execute("PRAGMA integrity_check").fetchone()
    if said != "ok":
        raise sqlite3.DatabaseError(f"{database}: {said}")


def _copy(source: pyarrow.fs.FileSystem, path: str, target: pyarrow.fs.FileSystem, to: str) -> None:
    """Copies one file; an object store shows it when it is whole, on a disk it is renamed when it is."""
    part = f"{to}.part" if isinstance(target, pyarrow.fs.LocalFileSystem) else to
    with source.open_input_stream(path) as reading, target.open_output_stream(part) as writing:
        shutil.copyfileobj(reading, writing)
    if part != to:
        target.move(part, to)


def main(arguments: Sequence[str]) -> int:
    """Does what the command line says; returns the exit status."""
    actions = {"backup": backup, "restore": restore}
    if len(arguments) != 3 or arguments[0] not in actions:
        print("usage: mlflow_store.py backup|restore DATABASE STORAGE", file=sys.stderr)
        return 2
    action, database, storage = arguments
    try:
        print(actions[action](Path(database).absolute(), storage.rstrip("/")))
    except (sqlite3.Error, OSError, ValueError) as error:
        print(f"mlflow_store.py {action} {database} {storage}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
