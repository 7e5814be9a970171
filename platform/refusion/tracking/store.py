"""The MLflow store: its address, its first use, and the command that opens the UI."""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from refusion.errors import StoreAwayError, UserError
from refusion.home import installed_command, refusion_home
from refusion.tracking.database import (
    DATABASES,
    artifacts_folder,
    check_database,
    is_database,
    open_database,
    quiet,
    redacted_database,
    sqlite_address,
    sqlite_file,
)
from refusion.tracking.drivers import require_artifact_driver
from refusion.tracking.failures import cause_and_remedy, is_away
from refusion.tracking.relocation import follow_artifacts

SERVERS = ("http", "https")
# Where `mlflow ui` serves unless it is told otherwise.
LOCAL_UI = "http://127.0.0.1:5000"
# MLflow creates it by itself, with its artifacts in ./mlruns of the first process's working directory.
_MLFLOWS_OWN_EXPERIMENT = "Default"
_limits_lock = threading.Lock()
_limited: Counter[str] = Counter()


def resolve_tracking_uri(option: str | None) -> str:
    """Returns the tracking store: the option, else ``MLFLOW_TRACKING_URI``, else an SQLite file in ``refusion_home()``.

    An SQLite path is made absolute and its folder is created.

    Raises:
        UserError: it is a folder or a file (MLflow 3 has no file store), is in memory, has a scheme that MLflow does
            not know, or its folder cannot be created.
    """
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    if not option and not environment:
        return _in_a_folder(refusion_home() / "mlflow.db", "REFUSION_HOME")
    uri = option or environment or ""
    origin = "--tracking-uri" if option else "MLFLOW_TRACKING_URI"
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
    if any("/" in option.partition("=")[0] for option in uri.partition("?")[2].split("&")):
        raise UserError(f"{origin} {uri!r}: what follows the ? is taken for options; write %3F for a ? in a path")
    query = url.set(database=None).render_as_string(hide_password=False).partition("?")[2]
    file = sqlite_file(uri) or Path(url.database)
    return _in_a_folder(file.expanduser().absolute(), origin, f"?{query}" if query else "")


def _in_a_folder(file: Path, origin: str, query: str = "") -> str:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return sqlite_address(file, query)
    except OSError as error:
        remedy = "set it to a folder that you may write to" if origin == "REFUSION_HOME" else "name another one"
        reason = f"the folder {file.parent} cannot be created ({error.strerror})"
        raise UserError(f"{origin}: {reason}; {remedy}") from error


def redacted(uri: str) -> str:
    """Returns the address without its password, for messages and logs."""
    if uri.partition(":")[0] in SERVERS:
        parts = urlsplit(uri)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return redacted_database(uri) if is_database(uri) else uri


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
def warnings_only(logger: str) -> Iterator[None]:
    """Keeps one of MLflow's loggers from telling what goes well, such as that an example is checked."""
    told = logging.getLogger(logger)
    before = told.level
    told.setLevel(logging.WARNING)
    try:
        yield
    finally:
        told.setLevel(before)


@contextmanager
def http_retry_limits(retries: int, seconds: int) -> Iterator[None]:
    """Limits MLflow's requests to a server to so many retries of so many seconds (its default takes minutes).

    The user's own settings in the environment go first.
    """
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries, "MLFLOW_HTTP_REQUEST_TIMEOUT": seconds}
    # MLflow reads them from the environment, which all threads share: the last one to leave takes them away.
    with _limits_lock:
        for name, value in limits.items():
            if _limited[name] or name not in os.environ:
                os.environ.setdefault(name, str(value))
                _limited[name] += 1
        ours = [name for name in limits if _limited[name]]
    try:
        yield
    finally:
        with _limits_lock:
            for name in ours:
                _limited[name] -= 1
                if not _limited[name]:
                    os.environ.pop(name, None)


def open_store(uri: str, experiment: str) -> str:
    """Returns the id of the experiment, created with the store itself where either is missing.

    The experiment's artifacts lie beside an SQLite file (``mlartifacts``), where the server says, or, for any other
    database, in ``refusion_home()/mlartifacts``.

    Args:
        uri: the result of ``resolve_tracking_uri``.
        experiment: name of the experiment.

    Raises:
        StoreAwayError: the store does not answer (within seconds).
        UserError: it cannot be opened or written, is of another version of MLflow, or the experiment is deleted.
    """
    name = experiment.strip()
    local = is_database(uri)
    if not name or (local and name == _MLFLOWS_OWN_EXPERIMENT):
        raise UserError(f"--experiment {experiment!r} cannot be used for this store: choose another name")
    if local:
        open_database(uri)
        follow_artifacts(uri)
    try:
        with http_retry_limits(retries=0, seconds=5), quiet("mlflow.store.db.utils", "alembic"):
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(name) or _create_experiment(client, uri, name, local)
    except MlflowException as error:
        cause, remedy = cause_and_remedy(error)
        kind = StoreAwayError if is_away(error) else UserError
        raise kind(f"the MLflow store {redacted(uri)} cannot be used ({cause}): {remedy}") from error
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment {name!r} of {redacted(uri)} is deleted: restore it with "
            f"`{_restore_command(uri, str(found.experiment_id))}` or choose another --experiment"
        )
    require_artifact_driver(found.artifact_location, f"the artifacts of the experiment {name!r}")
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, uri: str, name: str, local: bool) -> Experiment:
    try:
        client.create_experiment(
            name,
            artifact_location=artifacts_folder(uri).as_uri() if local else None,
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


def _restore_command(uri: str, experiment_id: str) -> str:
    mlflow = shlex.quote(installed_command("mlflow"))
    command = f"{mlflow} experiments restore --experiment-id {experiment_id}"
    return f"MLFLOW_TRACKING_URI={shlex.quote(redacted(uri))} {command}"


def require_store(uri: str) -> None:
    """Checks that a store exists before it is read, since MLflow would create an empty one, or upgrade an older one.

    Raises:
        UserError: the SQLite file does not exist, or the database is not of this version of MLflow.
    """
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise UserError(f"there is no MLflow store at {file}: give its address with --tracking-uri")
    if is_database(uri):
        check_database(uri)


def run_address(uri: str, experiment_id: str, run_id: str) -> str:
    """Returns the address of a run's page: on the server, or as the command of ``ui_command`` serves it here."""
    return page_address(uri, f"experiments/{experiment_id}/runs/{run_id}")


def page_address(uri: str, page: str) -> str:
    """Returns the address of a page of MLflow's, such as ``experiments/1``, where ``run_address`` says."""
    local = uri.partition(":")[0].partition("+")[0] in DATABASES
    return f"{LOCAL_UI if local else redacted(uri)}/#/{page}"


def ui_command(uri: str) -> str:
    """Returns the command (for a database) or the address (of a server) that opens the runs in a browser.

    Artifacts are found without further options: their absolute location is written in the store. The two options are
    for experiments made in the UI later, which otherwise put theirs into the current folder.
    """
    if not is_database(uri):
        return redacted(uri)
    artifacts = shlex.quote(str(artifacts_folder(uri)))
    mlflow = shlex.quote(installed_command("mlflow"))
    return f"{mlflow} ui --backend-store-uri {shlex.quote(redacted(uri))} --artifacts-destination {artifacts}"
