"""Stores whose home was moved or copied: MLflow writes absolute places into its database, which have to follow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from refusion.home import refusion_home
from refusion.tracking.database import artifacts_folder, sqlite_address, sqlite_file

# Columns of MLflow's tables that hold a place of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_STORE = "mlflow.db"
_BUSY_SECONDS = 10.0


def followed_place(location: str, uri: str) -> str:
    """Returns where artifacts lie now that were written to ``location``, in the folder of artifacts of a store.

    Args:
        location: a path or a file address below some folder ``mlartifacts``; anything else comes back as it is.
        uri: address of the store.
    """
    folder = artifacts_folder(uri)
    old = _path_of(location)
    if sqlite_file(uri) is None or old is None or folder.name not in old.parts:
        return location
    tail = old.parts[len(old.parts) - old.parts[::-1].index(folder.name) :]
    moved = folder.joinpath(*tail)
    return str(moved) if moved.exists() else location


def follow_artifacts(uri: str) -> None:
    """Writes the places of artifacts anew into an SQLite store that lies beside them elsewhere than it was made.

    Nothing is done where the folder beside the store is the one that is written, is missing, or the file is read-only.
    """
    file, folder = sqlite_file(uri), artifacts_folder(uri)
    if file is None or not file.is_file() or not folder.is_dir():
        return
    try:
        with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as database, database:
            found = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
            for (location,) in found:
                old = _path_of(str(location))
                if old is None or old.name != folder.name or old == folder or (old.exists() and old.samefile(folder)):
                    continue
                for table, column in _PLACES:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (folder.as_uri(), len(location) + 1, len(location), location),
                    )
    except sqlite3.OperationalError:
        # A read-only store is still read, and its places are followed one by one.
        return


def followed_store(recorded: str, home: str | None) -> str:
    """Returns the address of the store that a run was recorded in, now that its home may have been moved or copied.

    Args:
        recorded: address that the run has noted.
        home: the home at that time, as far as it was noted.
    """
    file = sqlite_file(recorded)
    here = refusion_home() / _STORE
    if file is None or file.name != _STORE or file == here or not here.is_file():
        return recorded
    was_default = Path(home) == file.parent if home else not file.exists()
    return sqlite_address(here) if was_default else recorded


def _path_of(location: str) -> Path | None:
    if location.startswith("file:"):
        return Path(unquote(urlsplit(location).path))
    return Path(location) if location.startswith("/") else None
