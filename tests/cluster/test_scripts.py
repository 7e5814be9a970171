"""Shell scripts of the folder `cluster`: by a linter, and with stand-ins for what only a head has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "cluster").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_linter_has_nothing_to_say(script: Path) -> None:
    # Installed with the tests, from PyPI.
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert program is not None
    checked = subprocess.run([program, str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert os.access(script, os.X_OK)


class Head:
    """A home with stand-ins for Python, sudo and systemctl, which write down how they are called."""

    def __init__(self, home: Path) -> None:
        self.home, self.calls = home, home / "calls.txt"
        (home / "venv" / "bin").mkdir(parents=True)
        (home / "bin").mkdir()
        self.put("venv/bin/python", 'echo "python $*" >> ~/calls.txt')
        self.put("bin/sudo", 'echo "$*" >> ~/calls.txt; [ "$1 $2" != "systemctl reset-failed" ]')
        self.put("bin/systemctl", "[ -e ~/active ]")

    def put(self, name: str, body: str) -> None:
        (self.home / name).write_text(f"#!/bin/bash\n{body}\n")
        (self.home / name).chmod(0o755)

    def start(self, storage: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": f"{self.home}/bin:/usr/bin:/bin"}
        command = ["bash", str(ROOT / "cluster" / "mlflow_on_head.sh"), storage]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


def test_the_server_starts_after_its_database_and_is_copied(head: Head) -> None:
    done = head.start("s3://ours/refusion")
    assert done.returncode == 0, done.stderr
    first, *_ = head.called()
    store, database = ROOT / "cluster" / "mlflow_store.py", head.home / "mlflow" / "mlflow.db"
    assert first == f"python {store} restore {database} s3://ours/refusion"
    server, copies = [call for call in head.called() if call.startswith("systemd-run")]
    assert "--host 127.0.0.1 --port 5000" in server
    assert f"--backend-store-uri sqlite:///{database}" in server
    assert f"backup {database} s3://ours/refusion" in server
    assert "--on-calendar=*:0/15" in copies
    assert copies.endswith(f"backup {database} s3://ours/refusion")


def test_a_second_start_leaves_what_runs(head: Head) -> None:
    (head.home / "active").touch()
    assert head.start("s3://ours/refusion").returncode == 0
    assert not [call for call in head.called() if call.startswith("systemd-run")]


def test_no_server_starts_where_its_copy_cannot_be_read(head: Head) -> None:
    head.put("venv/bin/python", "exit 1")
    assert head.start("s3://ours/refusion").returncode != 0
    assert head.called() == []


def test_a_bucket_that_nobody_filled_in_is_said(head: Head) -> None:
    done = head.start("s3://BUCKET/refusion")
    assert done.returncode == 2
    assert "write the name of your bucket" in done.stderr
    assert head.called() == []


def test_a_node_is_certified_by_the_clusters_own_ca(tmp_path: Path) -> None:
    def tls(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(ROOT / "cluster" / "tls.sh"), *words], capture_output=True, text=True, check=False)

    place, other = tmp_path / "tls", tmp_path / "other"
    assert tls("node", str(place)).returncode == 2
    for folder in (place, other):
        made = tls("ca", str(folder))
        assert made.returncode == 0, made.stderr
    assert tls("node", str(place)).returncode == 0
    assert "is there already" in tls("ca", str(place)).stderr

    def verify(folder: Path, *words: str) -> int:
        command = ["openssl", "verify", "-CAfile", str(folder / "ca.crt"), *words, str(place / "node.crt")]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert verify(place, "-purpose", "sslserver", "-verify_ip", "127.0.0.1") == 0
    assert verify(place, "-purpose", "sslclient") == 0
    assert verify(place, "-verify_ip", "192.0.2.99") != 0
    assert verify(other) != 0
    assert (place / "node.key").stat().st_mode & 0o077 == 0
