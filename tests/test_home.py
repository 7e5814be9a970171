from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from refusion import home
from refusion.home import installed_command, job_command, refusion_home


def test_home_is_the_variable_or_a_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "here"))
    assert refusion_home() == tmp_path / "here"
    monkeypatch.setenv("REFUSION_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refusion_home() == tmp_path / ".refusion"


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFUSION_HOME", "runs")
    assert refusion_home() == tmp_path / "runs"


def test_a_command_can_be_called_without_the_environment_being_active(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [installed_command("python"), "-c", "import sys; print(sys.prefix)"],
        env={**os.environ, "PATH": "/usr/bin:/bin"} if sys.prefix != sys.base_prefix else None,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == sys.prefix
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert installed_command("python") == "python"
    assert installed_command("no-such-command") == "no-such-command"


def test_a_job_is_called_by_its_file_in_a_checkout_and_by_the_command_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[1]
    monkeypatch.chdir(root)
    assert job_command("jobs/sweep.py", "sweep") == [installed_command("python"), "jobs/sweep.py"]
    monkeypatch.chdir(tmp_path)
    assert job_command("jobs/sweep.py", "sweep") == [installed_command("python"), str(root / "jobs" / "sweep.py")]
    monkeypatch.setattr(home, "__file__", str(tmp_path / "lib" / "refusion" / "home.py"))
    assert job_command("jobs/sweep.py", "sweep") == [installed_command("refusion"), "sweep"]
