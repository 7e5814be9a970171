"""Copies of MLflow's database: made while it is written, brought back to a new disk."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import boto3
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mlflow_store", ROOT / "cluster" / "mlflow_store.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "head" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE runs (name TEXT)")
        opened.execute("INSERT INTO runs VALUES ('first')")
        opened.commit()
    return path


@pytest.fixture
def storage(tmp_path: Path) -> str:
    (tmp_path / "bucket").mkdir()
    return (tmp_path / "bucket").as_uri()


def names(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as opened:
        return [name for (name,) in opened.execute("SELECT name FROM runs")]


def call(program: ModuleType, action: str, database: Path, storage: str) -> int:
    status: int = program.main([action, str(database), storage])
    return status


def test_a_new_disk_begins_with_the_copy(program: ModuleType, database: Path, storage: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        # Another's change that is not finished is not part of the copy.
        writer.execute("INSERT INTO runs VALUES ('half')")
        assert call(program, "backup", database, storage) == 0
        writer.commit()
    new = tmp_path / "new disk" / "mlflow.db"
    assert call(program, "restore", new, storage) == 0
    assert names(new) == ["first"]
    assert call(program, "backup", database, storage) == 0
    kept = sorted(path.name for path in (tmp_path / "bucket" / "mlflow-backup").iterdir())
    assert len(kept) == 2 and kept[1] == "mlflow.db"
    assert names(tmp_path / "bucket" / "mlflow-backup" / kept[0]) == ["first", "half"]


def test_the_copy_lies_in_a_bucket(
    program: ModuleType, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here, since every process of tests imports this file, and moto takes two seconds.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        names_of_s3 = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "us-east-1"}
        for name, value in {**names_of_s3, "AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": "own"}.items():
            monkeypatch.setenv(name, value)
        bucket = boto3.resource("s3", region_name="us-east-1").create_bucket(Bucket="of-a-head")
        assert call(program, "backup", database, "s3://of-a-head/refusion") == 0
        # The prefix that both roles may write to. No other test has this bucket: moto shares all within a process.
        assert all(found.key.startswith("refusion/") for found in bucket.objects.all())
        assert call(program, "restore", tmp_path / "new.db", "s3://of-a-head/refusion/") == 0
    finally:
        server.stop()
    assert names(tmp_path / "new.db") == ["first"]


def test_a_database_that_is_there_stays(program: ModuleType, database: Path, storage: str) -> None:
    assert call(program, "backup", database, storage) == 0
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("INSERT INTO runs VALUES ('second')")
        opened.commit()
    assert call(program, "restore", database, storage) == 0
    assert names(database) == ["first", "second"]


def test_the_first_head_begins_anew(program: ModuleType, storage: str, tmp_path: Path) -> None:
    assert call(program, "restore", tmp_path / "mlflow.db", storage) == 0
    assert not (tmp_path / "mlflow.db").exists()


def test_a_damaged_database_does_not_replace_its_copy(
    program: ModuleType, database: Path, storage: str, tmp_path: Path
) -> None:
    assert call(program, "backup", database, storage) == 0
    good = (tmp_path / "bucket" / "mlflow-backup" / "mlflow.db").read_bytes()
    database.write_bytes(database.read_bytes()[:5000])
    assert call(program, "backup", database, storage) == 1
    assert (tmp_path / "bucket" / "mlflow-backup" / "mlflow.db").read_bytes() == good


def test_a_damaged_copy_is_not_brought_back(
    program: ModuleType, database: Path, storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(program, "backup", database, storage) == 0
    copy = tmp_path / "bucket" / "mlflow-backup" / "mlflow.db"
    copy.write_bytes(copy.read_bytes()[:5000])
    assert call(program, "restore", tmp_path / "mlflow.db", storage) == 1
    assert not (tmp_path / "mlflow.db").exists()
    assert "restore" in capsys.readouterr().err


def test_a_storage_that_cannot_be_reached_is_no_empty_one(program: ModuleType, tmp_path: Path) -> None:
    assert call(program, "restore", tmp_path / "mlflow.db", "nonsense://bucket") == 1
    assert not (tmp_path / "mlflow.db").exists()
