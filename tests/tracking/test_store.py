from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli

from refusion.errors import UserError
from refusion.home import installed_command
from refusion.tracking.store import http_retry_limits, open_store, resolve_tracking_uri, run_address, ui_command


def test_option_goes_before_environment_before_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert resolve_tracking_uri(None) == f"sqlite:///{home}/mlflow.db"
    assert home.is_dir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000/")
    assert resolve_tracking_uri(None) == "http://tracking:5000"
    assert resolve_tracking_uri("https://other") == "https://other"
    assert resolve_tracking_uri("postgresql+psycopg2://u:p@h/db") == "postgresql+psycopg2://u:p@h/db"


def test_sqlite_paths_become_absolute(tmp_path: Path) -> None:
    assert resolve_tracking_uri("sqlite:///runs/a b.db") == f"sqlite:///{tmp_path}/working/runs/a b.db"
    assert (tmp_path / "working" / "runs").is_dir()
    assert resolve_tracking_uri(f"sqlite:///{tmp_path}/x.db?timeout=3") == f"sqlite:///{tmp_path}/x.db?timeout=3"


@pytest.mark.parametrize(
    "uri", ["mlruns", "./mlruns", "/data/mlruns", "file:///data/mlruns", "ftp://host/x", "store.db"]
)
def test_files_and_folders_are_refused_with_what_to_use(uri: str) -> None:
    with pytest.raises(UserError, match=r"--tracking-uri .*use sqlite:////.*\.db or a server's"):
        resolve_tracking_uri(uri)


def test_refusal_names_the_environment_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI 'mlruns'"):
        resolve_tracking_uri(None)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "sqlite://data/x.db", "sqlite:x.db"])
def test_sqlite_without_a_shared_file_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="sqlite:///FILE"):
        resolve_tracking_uri(uri)


def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be created"):
        resolve_tracking_uri(f"sqlite:///{tmp_path}/file/x.db")


def test_open_store_creates_once_and_keeps_artifacts_beside_the_file(uri: str) -> None:
    first = open_store(uri, "new study")
    assert open_store(uri, "new study") == first
    experiment = MlflowClient(tracking_uri=uri).get_experiment(first)
    folder = Path(uri.removeprefix("sqlite:///")).parent
    assert experiment.artifact_location == (folder / "mlartifacts").as_uri()
    assert list(Path.cwd().iterdir()) == []


def test_deleted_experiment_says_how_to_restore_it(uri: str) -> None:
    number = open_store(uri, "dropped")
    MlflowClient(tracking_uri=uri).delete_experiment(number)
    with pytest.raises(UserError, match=f"restore --experiment-id {number}") as refused:
        open_store(uri, "dropped")
    # The command acts on this store, wherever it is given.
    restore = str(refused.value).split("`")[1]
    done = subprocess.run(restore, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert open_store(uri, "dropped") == number


@pytest.mark.parametrize("name", ["", " ", "Default"])
def test_experiments_that_would_lose_artifacts_are_refused(uri: str, name: str) -> None:
    with pytest.raises(UserError, match="--experiment"):
        open_store(uri, name)


def test_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database, but long enough to be looked at" * 20)
    with pytest.raises(UserError, match=r"notes\.db cannot be opened .*--tracking-uri"):
        open_store(f"sqlite:///{tmp_path}/notes.db", "study")


def test_missing_database_driver_is_reported() -> None:
    with pytest.raises(UserError, match=r"//u:\*\*\*@nowhere/db cannot be opened"):
        open_store("mssql+nodriver://u:secret@nowhere/db", "study")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_absent_server_is_reported_within_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"does not answer.*--tracking-uri") as caught:
        open_store(f"http://user:secret@127.0.0.1:{_free_port()}", "study")
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)


def test_silent_server_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(UserError, match="does not answer"):
            open_store(f"http://127.0.0.1:{silent.getsockname()[1]}", "study")
    assert time.monotonic() - began < 5


def test_patience_leaves_the_users_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with http_retry_limits(retries=1, seconds=5):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_ui_command_has_options_that_mlflow_knows(tmp_path: Path) -> None:
    words = shlex.split(ui_command(f"sqlite:///{tmp_path}/a b.db"))
    assert words[:4] == [installed_command("mlflow"), "ui", "--backend-store-uri", f"sqlite:///{tmp_path}/a b.db"]
    told = CliRunner().invoke(cli, [*words[1:], "--help"])
    assert told.exit_code == 0, told.output
    for option in (word for word in words if word.startswith("--")):
        assert f"{option} " in told.output


def test_ui_of_a_server_is_its_address_redacted() -> None:
    assert ui_command("https://user:secret@tracking:5000/mlflow") == "https://tracking:5000/mlflow"
    assert "secret" not in ui_command("postgresql://user:secret@host/db")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sqlite:////home/me/mlflow.db", "http://127.0.0.1:5000/#/experiments/1/runs/abc"),
        ("https://me:secret@host:8000/mlflow", "https://host:8000/mlflow/#/experiments/1/runs/abc"),
    ],
)
def test_a_runs_page_has_an_address(uri: str, address: str) -> None:
    assert run_address(uri, "1", "abc") == address
