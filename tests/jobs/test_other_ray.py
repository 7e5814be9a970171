"""Jobs on a machine on which another Ray runs, of somebody else, with Ray's default ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clusters.head import environment, ray_head
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
JOB = [sys.executable, str(ROOT / "jobs" / "train_all_tasks.py")]
_TINY = {
    "tasks": "IVIF",
    "schedule.epochs": "1",
    "schedule.meta_iterations": "1",
    "schedule.fusion_steps": "2",
    "images.crop": "32",
    "images.batch": "2",
    "network.blocks": "1",
    "validation.images": "1",
    "validation.pictures": "1",
    "threads": "1",
    "compile": "false",
}
TINY = [word for name, value in _TINY.items() for word in (f"--{name}", value) if name != "compile"] + ["--no-compile"]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def other_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of another Ray, whose dashboard's agent has the default port; it is ended with all that it started."""
    place = tmp_path_factory.mktemp("other")
    with ray_head(place, 1, environment(place, RAY_AUTH_MODE="disabled"), default_agent=True) as head:
        yield head.address


def states(home: Path) -> set[str]:
    """States of all runs in the store of that home."""
    store = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    (experiment,) = (found for found in store.search_experiments() if found.name == "refusion")
    return {run.info.status for run in store.search_runs([experiment.experiment_id])}


def test_make_train_trains_in_silence_in_a_home_of_an_odd_name(other_ray: str, tmp_path: Path) -> None:
    """With the old version of Ray Train asked for, besides."""
    home = tmp_path / "müller #1 & 100%"
    own = environment(tmp_path, REFUSION_HOME=str(home), RAY_TRAIN_V2_ENABLED="0", PYTHONIOENCODING="latin-1")
    done = subprocess.run(
        ["bash", "jobs/try_it.sh", *TINY], cwd=ROOT, env=own, capture_output=True, check=False, timeout=500
    )
    said = (done.stdout + done.stderr).decode("latin-1")
    assert done.returncode == 0, said
    for trouble in ("Traceback", "multiple active Ray", "Error"):
        assert trouble not in said
    assert states(home) == {"FINISHED"}, said
    assert (home / "runs").is_dir() and (home / "mlartifacts").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"home", home.name}


@pytest.mark.faults
@pytest.mark.parametrize("ending", ["closed pipe", "SIGHUP"])
def test_a_job_whose_reader_goes_away_is_closed_as_killed(other_ray: str, tmp_path: Path, ending: str) -> None:
    """Between the run's start in MLflow and its training."""
    own = environment(tmp_path, RAY_ADDRESS=other_ray, RAY_AUTH_MODE="disabled")
    process = subprocess.Popen([*JOB, *TINY], env=own, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
        if line.startswith(b"run "):
            break
    if ending == "SIGHUP":
        process.send_signal(signal.SIGHUP)
        rest = process.stdout.read().decode()
        assert f"{JOB[1]} --resume " in rest
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(timeout=100) == (129 if ending == "SIGHUP" else 130), said
    assert "Traceback" not in said
    assert states(tmp_path / "refusion") == {"KILLED"}


def test_a_ray_that_is_started_here_leaves_no_token_in_the_home(other_ray: str, tmp_path: Path) -> None:
    own = environment(tmp_path, RAY_ADDRESS="local")
    done = subprocess.run(
        [*JOB, *TINY, "--workers", "99", "--images.batch", "99"],
        env=own,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: --workers 99: a task needs")
    assert not (tmp_path / "home" / ".ray").exists()


@pytest.mark.faults
def test_a_machine_too_slow_for_ray_is_told_so_and_records_no_run(tmp_path: Path) -> None:
    own = environment(tmp_path, RAY_ADDRESS="local")
    slow = [sys.executable, str(Path(__file__).with_name("slow_ray.py")), JOB[1]]
    done = subprocess.run([*slow, *TINY], env=own, cwd=tmp_path, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("stopped "):
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[1]), signal.SIGKILL)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("error: Ray did not start within the half minute that it allows itself"), done.stderr
    assert states(tmp_path / "refusion") == set()
    assert list((tmp_path / "refusion" / "runs").iterdir()) == []


def test_a_folder_too_large_for_uv_run_is_named(other_ray: str, tmp_path: Path) -> None:
    """The shell stands for uv, which Ray knows by its name: it sends the working directory to workers."""
    folder = tmp_path / "study"
    folder.mkdir()
    with (folder / "pictures.tar").open("w") as file:
        file.truncate(600 << 20)
    (folder / "run").write_text('"$@"\nexit $?\n')
    own = environment(tmp_path, RAY_ADDRESS=other_ray, RAY_AUTH_MODE="disabled")
    done = subprocess.run(
        ["uv", "run", *JOB, *TINY],
        executable="/bin/bash",
        env=own,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"error: {folder} is too large for Ray to send it to its workers")
    assert ".rayignore" in said
