"""MLflow's tables, made by its migrations once in a process: they take a second each time, and tests open hundreds."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy
from mlflow.store.db import utils


def make_tables_once() -> None:
    """Let MLflow make the tables of this process's first SQLite file, and copy them into each further one."""
    make, lock = utils._initialize_tables, threading.Lock()
    first = sqlite3.connect(":memory:", check_same_thread=False)
    known: list[Path] = []

    def made_or_copied(engine: Any) -> None:
        file = Path(engine.url.database or "")
        if engine.dialect.name != "sqlite" or not file.is_absolute() or sqlalchemy.inspect(engine).get_table_names():
            make(engine)
            return
        with lock, closing(sqlite3.connect(file)) as there:
            if known:
                first.backup(there)
                return
            make(engine)
            there.backup(first)
            known.append(file)

    utils._initialize_tables = made_or_copied
