"""The MLflow store: its address, its first use, and the command that opens the UI."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from refusion.errors import UserError
from refusion.home import installed_command, refusion_home

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
# MLflow creates it by itself, with its artifacts in ./mlruns of the first process's working directory.
_MLFLOWS_OWN_EXPERIMENT = "Default"


def resolve_tracking_uri(option: str | None) -> str:
    """Returns the tracking store: the option, else ``MLFLOW_TRACKING_URI``, else an SQLite file in ``refusion_home()``.

    An SQLite path is made absolute and its folder is created.

    Raises:
        UserError: it is a folder or a file (MLflow 3 has no file store), is in memory, has a scheme that MLflow does
            not know, or its folder cannot be created.
    """
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    uri = option or environment or f"sqlite:///{refusion_home() / 'mlflow.db'}"
    origin = "--tracking-uri" if option or not environment else "MLFLOW_TRACKING_URI"
    scheme = uri.partition(":")[0].partition("+")[0].lower() if ":" in uri else ""
    if uri == "databricks" or scheme in (*SERVERS, "databricks"):
        return uri.rstrip("/")
    if scheme == "sqlite":
        return _absolute_sqlite(uri, origin)
    if scheme in DATABASES:
        return uri
    path = Path(uri.removeprefix("file:").removeprefix("//")).expanduser().absolute()
    example = path if path.suffix == ".db" else path / "mlflow.db"
    raise UserError(
        f"{origin} {uri!r} is no store that MLflow 3 writes to: use sqlite:///{example} or a server's http address"
    )


def _absolute_sqlite(uri: str, origin: str) -> str:
    try:
        url = make_url(uri)
    except SQLAlchemyError as error:
        raise UserError(f"{origin} {uri!r} is no SQLite address: write sqlite:///FILE.db") from error
    if url.host or not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise UserError(f"{origin} {uri!r} names no file that several processes can share: write sqlite:///FILE.db")
    path = Path(url.database).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{origin}: the folder {path.parent} cannot be created ({error.strerror})") from error
    return url.set(database=str(path)).render_as_string(hide_password=False)


def redacted(uri: str) -> str:
    """Returns the address without its password, for messages and logs."""
    if uri.partition(":")[0] in SERVERS:
        parts = urlsplit(uri)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return make_url(uri).render_as_string() if "://" in uri and not uri.startswith("databricks") else uri


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Disables MLflow's progress bar per artifact on stderr, unless the user has set it in the environment."""
    name = MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.name
    added = name not in os.environ
    os.environ.setdefault(name, "false")
    try:
        yield
    finally:
        if added:
            os.environ.pop(name, None)


@contextmanager
def http_retry_limits(retries: int, seconds: int) -> Iterator[None]:
    """Limits MLflow's requests to a server to so many retries of so many seconds (its default takes minutes).

    The user's own settings in the environment go first.
    """
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries, "MLFLOW_HTTP_REQUEST_TIMEOUT": seconds}
    added = {name: str(value) for name, value in limits.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def open_store(uri: str, experiment: str) -> str:
    """Returns the id of the experiment, created with the store itself where either is missing.

    The experiment's artifacts lie beside an SQLite file (``mlartifacts``), where the server says, or, for any other
    database, in ``refusion_home()/mlartifacts``.

    Args:
        uri: the result of ``resolve_tracking_uri``.
        experiment: name of the experiment.

    Raises:
        UserError: the store cannot be reached (within seconds) or opened, or the experiment is deleted.
    """
    name = experiment.strip()
    local = uri.partition(":")[0].partition("+")[0] in DATABASES
    if not name or (local and name == _MLFLOWS_OWN_EXPERIMENT):
        raise UserError(f"--experiment {experiment!r} cannot be used for this store: choose another name")
    if local:
        _probe_database(uri)
    try:
        with http_retry_limits(retries=0, seconds=5), _silenced("mlflow.store.db.utils", "alembic"):
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(name) or _create_experiment(client, uri, name, local)
    except MlflowException as error:
        # MLflow's own message about a connection is a paragraph long.
        reason = "it does not answer" if "failed with exception" in str(error) else first_line(error)
        raise UserError(
            f"the MLflow store {redacted(uri)} cannot be used ({reason}): start it or give another --tracking-uri"
        ) from error
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment {name!r} of {redacted(uri)} is deleted: restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}` or choose another --experiment"
        )
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, uri: str, name: str, local: bool) -> Experiment:
    database = make_url(uri).database if uri.startswith("sqlite") else None
    folder = Path(database).parent if database else refusion_home()
    try:
        client.create_experiment(
            name,
            artifact_location=(folder / "mlartifacts").as_uri() if local else None,
            # The UI then opens with the columns of training, not with traces of language models.
            tags={"mlflow.experimentKind": "custom_model_development"},
        )
    except MlflowException as error:
        # Another job that started at the same moment may have created it.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.get_experiment_by_name(name)
    if found is None:
        raise MlflowException(f"the experiment {name!r} was created but cannot be read back")
    return found


def _probe_database(uri: str) -> None:
    """Opens the database once, since MLflow tries ten times, for more than a minute, before it reports a failure."""
    try:
        engine = sqlalchemy.create_engine(uri)
        sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        raise UserError(
            f"the MLflow store {redacted(uri)} cannot be opened ({first_line(cause)}): give another --tracking-uri"
        ) from error


def require_store(uri: str) -> None:
    """Checks that a store exists before it is read, since MLflow would create an empty one.

    Raises:
        UserError: the SQLite file does not exist.
    """
    database = make_url(uri).database if uri.startswith("sqlite") else None
    if database and not Path(database).is_file():
        raise UserError(f"there is no MLflow store at {database}: give its address with --tracking-uri")


def ui_command(uri: str) -> str:
    """Returns the command (for a database) or the address (of a server) that opens the runs in a browser.

    Artifacts are found without further options: their absolute location is written in the store. The two options are
    for experiments made in the UI later, which otherwise put theirs into the current folder.
    """
    if uri.partition(":")[0].partition("+")[0] not in DATABASES:
        return redacted(uri)
    database = make_url(uri).database if uri.startswith("sqlite") else None
    folder = Path(database).parent if database else refusion_home()
    artifacts = shlex.quote(str(folder / "mlartifacts"))
    mlflow = shlex.quote(installed_command("mlflow"))
    return f"{mlflow} ui --backend-store-uri {shlex.quote(redacted(uri))} --artifacts-destination {artifacts}"


def first_line(error: BaseException) -> str:
    """Returns an exception's message, or name, short enough for one sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(" :.")


@contextmanager
def _silenced(*loggers: str) -> Iterator[None]:
    """Silences the announcements of each table by MLflow and Alembic on stderr."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
