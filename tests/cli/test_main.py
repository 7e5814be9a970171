from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from refusion.cli import main
from refusion.cli.main import COMMANDS, overview
from refusion.config import presets

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "refusion.cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT / "platform", capture_output=True, text=True, check=False)


def test_the_overview_lists_every_command() -> None:
    done = call("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == overview() + "\n"
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert call().stdout == done.stdout


def test_the_overview_names_the_folder_of_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert overview().endswith(f"the same as files, for ray job submit: {ROOT / 'jobs'}")
    monkeypatch.setattr(presets, "_JOBS", (tmp_path / "none", tmp_path / "share"))
    assert "ray job submit" not in overview()
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "train_all_tasks.py").touch()
    assert overview().endswith(str(tmp_path / "share"))


def test_a_wheel_holds_all_that_the_package_reads_and_the_jobs() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    package = ROOT / "platform" / "refusion"
    packed = {path for pattern in tool["package-data"]["refusion"] for path in package.glob(pattern)}
    tracked = subprocess.run(
        ["git", "ls-files", "platform/refusion"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    read = {ROOT / name for name in tracked.splitlines() if not name.endswith((".py", ".md"))}
    assert read and not read - packed
    shared = {path for patterns in tool["data-files"].values() for pattern in patterns for path in ROOT.glob(pattern)}
    assert {*(ROOT / "jobs").glob("*.py"), *(ROOT / "jobs" / "presets").glob("*.yaml")} == shared


def test_an_unknown_command_is_refused_with_those_there_are() -> None:
    done = call("trian")
    assert done.returncode == 2
    assert done.stderr == (
        "error: there is no command 'trian': choose from train, sweep, evaluate, fuse, data, runs, demo, report, "
        "compare, promote, audit (see refusion --help)\n"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_described_as_its_job_is(name: str) -> None:
    command = COMMANDS[name]
    job, module = ROOT / command.file, Path(main.__file__).parent / f"{command.module.replace('.', '/')}.py"
    described = [ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in (job, module)]
    assert described[0] == described[1]


@pytest.mark.slow
def test_a_commands_help_is_its_jobs_but_for_the_name() -> None:
    job = subprocess.run(
        [sys.executable, "jobs/fuse.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    ours = call("fuse", "--help")
    assert ours.returncode == 0
    options = job.index("options:")
    assert ours.stdout.startswith("usage: refusion fuse ")
    assert ours.stdout.endswith(job[options:])
    assert "refusion fuse --checkpoint" in ours.stdout
    assert "jobs/fuse.py" not in ours.stdout


@pytest.mark.slow
def test_a_command_runs_its_job(tmp_path: Path) -> None:
    done = call("report", "--sweep", "none", "--out", str(tmp_path), "--tracking-uri", f"sqlite:///{tmp_path}/none.db")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no MLflow store at ")
