"""Databases of MLflow stores: their addresses, made whole or not at all, opened only by the MLflow that wrote them."""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

import filelock
import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow import MlflowClient
from mlflow.db import upgrade as mlflow_db_upgrade
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from refusion.errors import StoreAwayError, UserError
from refusion.home import installed_command, refusion_home
from refusion.tracking.drivers import install_command

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# Read once, at the first use: MLflow's scripts run as they are read, and each time leave constraints on its classes.
_MIGRATIONS = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
# Creating the tables takes seconds, on a busy network disk perhaps a minute.
_LOCK_SECONDS = 300.0
# So long an upgrade waits for those who read or write the file.
_BUSY_SECONDS = 10.0
_NAME_LIMIT = 255
# As drivers of database servers spell that nobody answers, or not yet; all else is the address's own fault.
_AWAY = ("Connection refused", "timeout expired", "starting up", "shutting down", "closed the connection", "timed out")
_State = Literal["empty", "current", "older"]


def is_database(uri: str) -> bool:
    """Returns True for the address of a database, False for that of a server."""
    return uri.partition(":")[0].partition("+")[0].lower() in DATABASES


def sqlite_address(file: Path, query: str = "") -> str:
    """Returns the address of an SQLite file for MLflow, which takes it as it stands here, never percent-encoded.

    MLflow takes the text after ``sqlite:///`` for a path where it makes the folder, and decodes it where it opens the
    file. A folder whose path is not the same in both is reached by a link of a plain name.

    Raises:
        UserError: the file's own name is such a one.
    """
    if not _is_plain(str(file)):
        if not _is_plain(file.name):
            raise UserError(f"MLflow cannot open a database of the name {file.name!r}: choose one without ? and %")
        file = _plain_link(file.parent) / file.name
    return f"sqlite:///{file}{query}"


def _is_plain(text: str) -> bool:
    return "?" not in text and unquote(text) == text


def _links() -> Path:
    return Path(tempfile.gettempdir()) / f"refusion-{os.getuid()}"


def _plain_link(folder: Path) -> Path:
    """Returns a link to a folder, made where it is missing; its name can be read back by ``sqlite_file``."""
    place = _links()
    link = place / quote(str(folder), safe="").replace("%", "=")
    if len(link.name) > _NAME_LIMIT:
        raise UserError(f"MLflow cannot open a database in {folder}: set REFUSION_HOME to a folder without ? and %")
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise UserError(f"{place} belongs to somebody else: set TMPDIR to a folder of your own")
    if not link.is_symlink():
        link.symlink_to(folder, target_is_directory=True)
    return link


def sqlite_file(uri: str) -> Path | None:
    """Returns the file of an SQLite address, itself and not by a link, or None for any other address."""
    if not uri.startswith("sqlite"):
        return None
    database = make_url(uri).database
    if not database:
        return None
    file = Path(database)
    if file.parent.parent == _links():
        return Path(unquote(file.parent.name.replace("=", "%"))) / file.name
    return file


def artifacts_folder(uri: str) -> Path:
    """Returns the folder of artifacts of a database: beside an SQLite file, else in our home."""
    file = sqlite_file(uri)
    return (file.parent if file else refusion_home()) / "mlartifacts"


def redacted_database(uri: str) -> str:
    """Returns a database's address without its password."""
    return uri if uri.startswith("sqlite") else make_url(uri).render_as_string()


def open_database(uri: str) -> None:
    """Creates MLflow's tables where the database has none; else checks that this MLflow has written them.

    A second process waits for the first. An SQLite file appears only when it is whole.

    Raises:
        UserError: it cannot be opened or written, holds something else, or was written by another version of MLflow.
    """
    file = sqlite_file(uri)
    if check_database(uri):
        _require_writable(uri, file)
        return
    lock = file.with_name(f"{file.name}.lock") if file else refusion_home() / "mlflow.lock"
    with _locked(lock, uri):
        if check_database(uri):
            return
        if file is None:
            _create_tables(uri)
            return
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        _create_tables(sqlite_address(new))
        new.replace(file)


@contextmanager
def _locked(lock: Path, uri: str) -> Iterator[None]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock, timeout=_LOCK_SECONDS):
            yield
    except filelock.Timeout as error:
        raise UserError(
            f"the MLflow store {redacted_database(uri)} is being set up by another process for "
            f"{_LOCK_SECONDS / 60:.0f} minutes, which holds {lock}: end that process"
        ) from error
    except OSError as error:
        raise _unopened(uri, error.strerror or str(error)) from error


def _create_tables(uri: str) -> None:
    with quiet("mlflow.store.db.utils", "alembic"):
        try:
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError) as error:
            raise _unopened(uri, cause_of(error)) from error


def _require_writable(uri: str, file: Path | None) -> None:
    # SQLite writes a journal beside its file.
    if file is not None and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise _unopened(uri, "the file and its folder must be writable")


def check_database(uri: str) -> bool:
    """Checks the tables of a database; returns False where there are none yet.

    Raises:
        UserError: it cannot be opened, holds something else, or was written by another version of MLflow.
    """
    state = _state(uri)
    if state == "older":
        is_file = sqlite_file(uri) is not None
        how = "by --upgrade-store, which keeps a copy" if is_file else f"by `{shlex.join(_upgrade_command(uri))}`"
        raise UserError(
            f"the MLflow store {redacted_database(uri)} was written by an older MLflow, which cannot open it any more "
            f"once it is upgraded: upgrade it {how}, or give another --tracking-uri"
        )
    return state == "current"


def _state(uri: str) -> _State:
    file = sqlite_file(uri)
    if file is not None and (not file.exists() or file.stat().st_size == 0):
        return "empty"
    try:
        engine = sqlalchemy.create_engine(uri)
        with engine.connect() as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
            revisions = MigrationContext.configure(connection).get_current_heads()
        engine.dispose()
    except ModuleNotFoundError as error:
        raise UserError(
            f"the MLflow store {redacted_database(uri)} needs a driver that is not installed: "
            f"{install_command(str(error.name))}"
        ) from error
    except (SQLAlchemyError, ImportError) as error:
        unopened = _unopened(uri, cause_of(error))
        away = isinstance(error, OperationalError) and any(text in str(error) for text in _AWAY)
        raise StoreAwayError(str(unopened)) if away else unopened from error
    if not tables - {"alembic_version"}:
        return "empty"
    return _state_of(redacted_database(uri), tables, revisions)


def _state_of(shown: str, tables: set[str], revisions: tuple[str, ...]) -> _State:
    if not {"experiments", "runs"} <= tables:
        raise UserError(
            f"{shown} is no MLflow store, it holds tables of another program ({', '.join(sorted(tables)[:3])}): "
            "give another --tracking-uri"
        )
    if any(table.startswith("_alembic_tmp_") for table in tables):
        raise UserError(
            f"the MLflow store {shown} was cut off while its tables were being changed: put back a copy, or move it "
            "away and begin anew"
        )
    if revisions == tuple(_MIGRATIONS.get_heads()):
        return "current"
    if set(revisions) <= {script.revision for script in _MIGRATIONS.walk_revisions()}:
        return "older"
    raise UserError(
        f"the MLflow store {shown} was written by a newer MLflow than {mlflow.__version__}: install that one "
        "(pip install --upgrade mlflow), or give another --tracking-uri"
    )


def upgrade_database(uri: str) -> str:
    """Upgrades an SQLite store of an older MLflow and keeps a copy beside it; returns what was done, in a sentence.

    The file is replaced by an upgraded one when that is whole, and until then nothing can write to it.

    Raises:
        UserError: it is no SQLite file, is in use, or cannot be upgraded; it is as it was then.
    """
    file = sqlite_file(uri)
    if file is None:
        raise UserError(
            f"--upgrade-store upgrades SQLite files, of which it keeps a copy: dump {redacted_database(uri)}, then "
            f"upgrade it by `{shlex.join(_upgrade_command(uri))}`"
        )
    with _locked(file.with_name(f"{file.name}.lock"), uri):
        if _state(uri) != "older":
            return f"the MLflow store {file} needs no upgrade"
        _require_writable(uri, file)
        names = (f"{file.name}.before-upgrade{number}" for number in ("", *(f"-{count}" for count in range(2, 1000))))
        copy = next(place for place in map(file.with_name, names) if not place.exists())
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(file, _BUSY_SECONDS, isolation_level=None)) as guard:
                # Others may read, as the copies do, but not write.
                guard.execute("BEGIN IMMEDIATE")
                for target in (copy, new):
                    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as written:
                        source.backup(written)
                with quiet("mlflow.store.db.utils", "alembic"):
                    mlflow_db_upgrade.main([sqlite_address(new)], standalone_mode=False)
                new.replace(file)
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            for place in (copy, new):
                place.unlink(missing_ok=True)
            raise UserError(
                f"the MLflow store {file} cannot be upgraded ({cause_of(error)}) and is as it was: end what uses it, "
                "or give another --tracking-uri"
            ) from error
    return f"the MLflow store {file} is upgraded to MLflow {mlflow.__version__}; as it was, it is kept as {copy}"


def _upgrade_command(uri: str) -> list[str]:
    return [installed_command("mlflow"), "db", "upgrade", redacted_database(uri)]


def _unopened(uri: str, reason: str) -> UserError:
    return UserError(
        f"the MLflow store {redacted_database(uri)} cannot be opened ({reason}): give another --tracking-uri"
    )


def cause_of(error: BaseException) -> str:
    """Returns the database's own message, short enough for one sentence."""
    return first_line(getattr(error, "orig", None) or error)


def first_line(error: BaseException) -> str:
    """Returns an exception's message, or name, short enough for one sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(" :.")


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Silences the announcements of each table by MLflow and Alembic on stderr."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
