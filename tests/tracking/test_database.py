"""Databases as people have them: new for two jobs at once, in odd folders, of other programs and other versions."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.initial_models import Base

from refusion.errors import UserError
from refusion.tracking import database
from refusion.tracking.database import open_database, sqlite_address, sqlite_file, upgrade_database
from refusion.tracking.store import open_store, require_store, resolve_tracking_uri, ui_command

# The first schema that MLflow's migrations lead to; each later one costs time.
OLDEST = "451aebb31d03"
OPEN = """
from refusion.tracking.store import open_store, resolve_tracking_uri
print("experiment", open_store(resolve_tracking_uri(None), "study"))
"""


def database_of(file: Path, revision: str) -> str:
    """Makes a store as an older MLflow left it, by MLflow's own migrations up to that revision."""
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    config = Config()
    config.set_main_option("script_location", str(migrations))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    return f"sqlite:///{file}"


@pytest.mark.slow
def test_two_first_jobs_at_once_in_a_home_of_an_odd_name(tmp_path: Path) -> None:
    home = tmp_path / "müller #1 & 100% a%20b?"
    environment = {**os.environ, "REFUSION_HOME": str(home), "TMPDIR": str(tmp_path)}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [job.communicate(timeout=120) for job in jobs]
    assert said == [("experiment 1\n", "")] * 2
    # MLflow's own folders for a percent-encoded path, or one that is cut at the question mark, would lie there.
    assert {path.name for path in tmp_path.iterdir()} == {home.name, f"refusion-{os.getuid()}", "working"}
    assert {path.name for path in home.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.parametrize("name", ["müller", "a#b", "a&b", "100%", "a%20b", "q?m", "a b"])
def test_artifacts_and_metrics_go_to_a_folder_of_any_name(
    schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "working"))
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / name))
    uri = resolve_tracking_uri(None)
    (tmp_path / name / "mlflow.db").write_bytes(schema.read_bytes())
    store, experiment = MlflowClient(tracking_uri=uri), open_store(uri, "study")
    run = store.create_run(experiment).info.run_id
    store.log_text(run, "text", "file.txt")
    assert (tmp_path / name / "mlartifacts" / run / "artifacts" / "file.txt").read_text() == "text"
    assert sqlite_file(uri) == tmp_path / name / "mlflow.db"
    assert resolve_tracking_uri(uri) == uri
    assert str(tmp_path / name / "mlartifacts") in ui_command(uri).replace("'", "")
    assert {path.name for path in tmp_path.iterdir()} == {name, "working"}


def test_a_link_that_was_swept_away_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "a?b").mkdir()
    uri = sqlite_address(tmp_path / "a?b" / "mlflow.db")
    (tmp_path / f"refusion-{os.getuid()}").rename(tmp_path / "gone")
    assert resolve_tracking_uri(uri) == uri
    assert Path(uri.removeprefix("sqlite:///")).parent.resolve() == tmp_path / "a?b"


def test_a_question_mark_in_an_address_is_explained() -> None:
    with pytest.raises(UserError, match="write %3F"):
        resolve_tracking_uri("sqlite:////home/a?b/mlflow.db")


@pytest.mark.slow
def test_a_store_of_an_older_mlflow_is_left_alone(tmp_path: Path) -> None:
    uri = database_of(tmp_path / "old store.db", OLDEST)
    before = (tmp_path / "old store.db").read_bytes()
    for use in (lambda: open_store(uri, "study"), lambda: require_store(uri)):
        with pytest.raises(
            UserError, match=r"by an older MLflow, .* upgrade it by --upgrade-store, which keeps a copy"
        ):
            use()
    assert (tmp_path / "old store.db").read_bytes() == before


@pytest.mark.slow
def test_a_store_of_an_older_mlflow_is_upgraded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    uri = database_of(file := tmp_path / "old store.db", OLDEST)
    with sqlite3.connect(file) as connection:
        connection.execute("insert into experiments values (7, 'of old', '/gone', 'active')")
    before = file.read_bytes()
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            UserError, match=r"cannot be upgraded \(database is locked\) and is as it was: end what uses"
        ):
            upgrade_database(uri)
        other.rollback()
    assert file.read_bytes() == before
    (tmp_path / "old store.db.before-upgrade").write_text("of another upgrade")
    said = upgrade_database(uri)
    copy = tmp_path / "old store.db.before-upgrade-2"
    assert said.endswith(f"; as it was, it is kept as {copy}")
    assert MlflowClient(tracking_uri=uri).get_experiment("7").name == "of old"
    require_store(uri)
    assert upgrade_database(uri) == f"the MLflow store {file} needs no upgrade"
    # The copy is what the older MLflow opens.
    with pytest.raises(UserError, match="by an older MLflow"):
        require_store(f"sqlite:///{copy}")
    names = {path.name for path in tmp_path.iterdir()} - {"working"}
    assert names == {file.name, f"{file.name}.lock", f"{file.name}.before-upgrade", copy.name}


def test_a_store_that_is_opened_again_leaves_nothing_in_memory(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    open_database(uri)

    def constraints() -> int:
        gc.collect()
        return sum(type(each) is sqlalchemy.CheckConstraint for each in gc.get_objects())

    open_database(uri)
    before = constraints()
    open_database(uri)
    assert constraints() == before > 0


def test_a_server_is_not_upgraded_from_here() -> None:
    with pytest.raises(
        UserError, match=r"keeps a copy: dump postgresql://u:\*\*\*@h/db, then upgrade it by `.*mlflow db "
    ):
        upgrade_database("postgresql://u:secret@h/db")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("update alembic_version set version_num = 'ffffffffffff'", "written by a newer MLflow than"),
        ("create table _alembic_tmp_latest_metrics (x integer)", "was cut off"),
        ("drop table runs", "no MLflow store, it holds tables of another program"),
    ],
)
def test_other_tables_are_refused_and_left_alone(schema: Path, tmp_path: Path, change: str, named: str) -> None:
    file = tmp_path / "store.db"
    file.write_bytes(schema.read_bytes())
    with sqlite3.connect(file) as connection:
        connection.execute(change)
    before = file.read_bytes()
    with pytest.raises(UserError, match=named):
        open_store(f"sqlite:///{file}", "study")
    assert file.read_bytes() == before


def test_somebody_elses_sqlite_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "photos.db") as connection:
        connection.execute("create table photos (x integer)")
    with pytest.raises(UserError, match=r"photos\.db is no MLflow store, .*\(photos\): give another --tracking-uri"):
        open_store(f"sqlite:///{tmp_path}/photos.db", "study")


@pytest.mark.parametrize(
    ("scheme", "module", "command"),
    [
        ("postgresql", "psycopg", r"pip install 'refusion-platform\[postgres\]'$"),
        ("mysql", "MySQLdb", "pip install mysqlclient$"),
    ],
)
def test_a_database_without_its_driver_names_what_to_install(
    scheme: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"//u:\*\*\*@host/db needs a driver .*: {command}"):
        open_database(f"{scheme}://u:secret@host/db")


def test_a_home_that_cannot_be_written_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFUSION_HOME")
    monkeypatch.setenv("HOME", "/proc/nobody")
    with pytest.raises(UserError, match=r"^REFUSION_HOME: the folder /proc/nobody/.refusion cannot be .* set it to a"):
        resolve_tracking_uri(None)
