"""The main job as its user runs it: trained, recorded, interrupted, resumed; and what it says to wrong requests."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import safetensors.torch
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.pyfunc import load_model
from rich.console import Console

from refusion.cli.train import read_request
from refusion.errors import UserError
from refusion.fuse import fuse_pair, load_module
from refusion.images.reading import read_image
from refusion.metrics import METRICS
from refusion.tracking.settings import recorded_settings_of
from refusion.training.job import train_all

ROOT = Path(__file__).resolve().parents[2]
TINY = shlex.split(
    "--schedule.epochs 2 --schedule.meta_iterations 2 --schedule.fusion_steps 3 --schedule.rate 1e-3 --images.crop 32 "
    "--images.batch 2 --network.blocks 1 --validation.images 1 --validation.pictures 1 --threads 1"
)
MODULES = ("fusion", "loss_proposal", "reconstruction")

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def data(builtin: Path) -> Path:
    return builtin


def job(*arguments: str, log: Path | None = None) -> int:
    request = read_request([str(argument) for argument in arguments])
    if log is None:
        return train_all(request, Console(width=140))
    with log.open("w") as file:
        return train_all(request, Console(file=file, width=140))


def client(home: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


def runs_of(home: Path, name: str) -> tuple[Run, dict[str, Run]]:
    """The job's run of that name and its tasks' runs."""
    store = client(home)
    experiment = store.get_experiment_by_name("refusion")
    found = store.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if run.info.run_name == name]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, {run.data.tags["task"]: run for run in children}


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The log of an uninterrupted run of two tasks on the built-in scenes, each on two workers."""
    log = tmp_path_factory.mktemp("log") / "log.txt"
    own = ["--per_task.MFIF.outer.accumulate", "3"]
    assert job("--tasks", "IVIF", "MFIF", "--workers", "2", "--run-name", "whole", *TINY, *own, log=log) == 0
    return log.read_text()


def test_the_log_shows_epochs_and_ends_with_the_results_and_the_next_commands(whole: str) -> None:
    assert "IVIF: 9 train" in whole
    assert "epoch 2/2" in whole
    # Two workers each, and three CPUs.
    assert "MFIF: waiting" in whole
    assert "of 2" in whole and "(a + b) / 2" in whole
    progress = [line for line in whole.splitlines() if "IVIF: " in line]
    assert any("epoch 1: Qabf 0." in line for line in progress)
    assert max(map(len, progress)) <= 120 and len(set(progress)) == len(progress)
    assert "IVIF: the best is epoch " in whole
    plan = "2 epochs of 2 meta-iterations (K 1) and 3 fusion updates, 2 pairs each, crops of 32; 1 pair validated"
    assert f"IVIF, MFIF: {plan}" in whole
    assert "IVIF: about 0:0" in whole and "to go, by the first steps" in whole
    assert "IVIF: starting | Ray starts its worker processes" in whole


def test_the_last_lines_lead_on(home: Path, whole: str, tmp_path: Path) -> None:
    """Pictures, the page in MLflow and the command that fuses are there; nothing is left to resume."""
    lines = [line.strip() for line in whole.rstrip().splitlines()][-9:]
    assert lines[0] == "pictures:" and any(Path(lines[1]).rglob("*.png"))
    parent, _ = runs_of(home, "whole")
    experiment = f"/#/experiments/{parent.info.experiment_id}/runs"
    assert lines[4].endswith(f"{experiment}?viewStateShareKey=tasks")
    assert lines[5].endswith(f"{experiment}?viewStateShareKey=pictures&compareRunsMode=CHART")
    assert lines[6].endswith(f"{experiment}/{parent.info.run_id}")
    assert "mlflow ui" in lines[3] and str(home / "mlflow.db") in lines[3]
    assert "--resume" not in whole
    fuse = [*shlex.split(lines[8])[:-1], str(tmp_path / "fused")]
    done = subprocess.run(fuse, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "fused").glob("*.png"))) == 2


def test_mlflow_has_a_parent_with_summaries_and_a_child_per_task(home: Path, whole: str) -> None:
    parent, children = runs_of(home, "whole")
    assert parent.info.status == "FINISHED"
    assert set(children) == {"IVIF", "MFIF"}
    for task, child in children.items():
        assert child.info.status == "FINISHED"
        assert child.info.run_name == f"{task} · whole"
        assert child.data.params["schedule.epochs"] == "2"
        assert len(child.data.params) <= 6
        settings = recorded_settings_of(child.data.params, child.data.tags)
        assert settings["images.crop"] == "32"
        assert child.data.tags["convention"] == "authors"
        numbers = parent.data.metrics
        last, best = client(home).get_metric_history(child.info.run_id, "Qabf"), int(numbers[f"{task}/epoch"])
        assert numbers[f"{task}/Qabf"] == max(point.value for point in last) == child.data.metrics["best/Qabf"]
        assert numbers[f"{task}/Qabf"] == next(point.value for point in last if point.step == best)
        assert (numbers[f"{task}/last/epoch"], child.data.metrics["best/epoch"]) == (2, best)
        for name in (*METRICS, "loss/inner", "loss/outer", "loss/fusion", "loss/reconstruction", "rate", "inner_steps"):
            history = client(home).get_metric_history(child.info.run_id, name)
            # Before the first step the modules are measured as epoch 0.
            assert [point.step for point in history] == ([0, 1, 2] if name in METRICS else [1, 2]), name
        assert child.data.metrics["images_per_second"] > 0


def test_each_task_is_trained_and_recorded_with_its_own_settings(home: Path, whole: str) -> None:
    parent, children = runs_of(home, "whole")
    settings = recorded_settings_of(parent.data.params, parent.data.tags)
    assert settings["per_task.MFIF.outer.accumulate"] == "3"
    assert "| IVIF" in parent.data.tags["mlflow.note.content"]
    for task, accumulate in (("IVIF", 1), ("MFIF", 3)):
        data = children[task].data
        assert recorded_settings_of(data.params, data.tags)["outer.accumulate"] == str(accumulate)
        file = home / "runs" / "whole" / task / "final" / "settings.yaml"
        assert yaml.safe_load(file.read_text())["outer"]["accumulate"] == accumulate


def test_mlflow_has_pictures_by_step_and_the_datasets(home: Path, whole: str) -> None:
    for child in runs_of(home, "whole")[1].values():
        names = [file.path for file in client(home).list_artifacts(child.info.run_id, "images")]
        for kind in ("fused", "weights"):
            for step in ("1", "2"):
                assert any(kind in name and f"+step+{step}+" in name for name in names), names
        digests = {given.dataset.name: given.dataset.digest for given in child.inputs.dataset_inputs}
        assert len(digests) == 2
        assert all(digests.values())


def test_the_registered_model_fuses(home: Path, data: Path, whole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    a, b = (read_image(next((data / "IVIF" / "val" / side).iterdir())) for side in "ab")
    fused = load_model("models:/refusion-IVIF@best").predict({"a": a, "b": b})
    assert fused.dtype == np.uint8
    assert fused.shape[:2] == a.shape[:2]
    best = load_module(home / "runs" / "whole" / "IVIF" / "best")
    assert np.array_equal(fused, fuse_pair(best, a, b))


def test_the_run_folder_holds_final_best_and_the_epochs(home: Path, whole: str) -> None:
    folder = home / "runs" / "whole" / "IVIF"
    for name in ("final", "best", "epoch_00001", "epoch_00002"):
        files = {path.name for path in (folder / name).iterdir()}
        assert {f"{module}.safetensors" for module in MODULES} | {"state.pt", "settings.yaml"} <= files
    assert weights(folder / "final") == weights(folder / "epoch_00002")
    state = torch.load(folder / "final" / "state.pt", weights_only=True)
    assert (state["epoch"], state["meta_steps"], state["fusion_steps"]) == (2, 4, 6)


def weights(checkpoint: Path) -> dict[str, bytes]:
    return {
        f"{module}.{key}": value.numpy().tobytes()
        for module in MODULES
        for key, value in safetensors.torch.load_file(str(checkpoint / f"{module}.safetensors")).items()
    }


def test_a_killed_run_resumes_to_the_same_bits(home: Path, whole: str) -> None:
    """The job's process is killed outright within its second epoch; the run ends as the uninterrupted one did."""
    command = [sys.executable, "jobs/train_all_tasks.py", "--tasks", "IVIF", "--workers", "2", "--run-name", "killed"]
    # At every look at the numbers, of which there are four in an epoch. Pictures change no weights.
    often = ["--checkpoints.every_minutes", "1e-9", "--validation.pictures", "0"]
    command += [*TINY, *often]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    task = home / "runs" / "killed" / "IVIF"
    first, latest = task / "epoch_00001" / "metrics.json", task / "latest" / "metrics.json"
    deadline = time.monotonic() + 300

    def is_within_the_second() -> bool:
        return first.exists() and latest.exists() and latest.stat().st_mtime > first.stat().st_mtime

    while not is_within_the_second() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert first.exists()
    assert not (task / "final").exists()
    with torch.no_grad():
        assert load_module(task / "latest")(torch.rand(1, 2, 16, 16)).shape == (1, 1, 16, 16)

    assert job("--resume", "killed", "--checkpoints.every_minutes", "5") == 0
    assert not (task / "latest").exists()
    assert weights(home / "runs" / "killed" / "IVIF" / "final") == weights(home / "runs" / "whole" / "IVIF" / "final")
    parent, children = runs_of(home, "killed")
    assert parent.info.status == "FINISHED"
    assert set(children) == {"IVIF"}
    history = client(home).get_metric_history(children["IVIF"].info.run_id, "Qabf")
    assert {point.step for point in history} == {0, 1, 2}
    within = client(home).get_metric_history(children["IVIF"].info.run_id, "within/loss/inner")
    assert {1, 2} < {point.step for point in within}


def test_a_finished_run_resumed_stays_as_it_is(home: Path, whole: str) -> None:
    final = home / "runs" / "whole" / "MFIF" / "final"
    before = weights(final)
    assert job("--resume", "whole", "--tasks", "MFIF") == 0
    assert weights(final) == before


def test_a_task_that_fails_does_not_take_the_others_down(home: Path, data: Path, tmp_path: Path) -> None:
    """MIF has to wait for IVIF; meanwhile its pictures vanish."""
    mine = tmp_path / "pairs"
    shutil.copytree(data, mine)

    def vanish() -> None:
        page = home / "runs" / "half" / "job.yaml"
        while not page.exists():
            time.sleep(0.05)
        shutil.rmtree(mine / "MIF" / "train")

    threading.Thread(target=vanish, daemon=True).start()
    log = tmp_path / "log.txt"
    cpus = str(int(ray.cluster_resources()["CPU"]))
    own = ["--threads", cpus, "--schedule.epochs", "1", "--validation.pictures", "0", "--retries", "0"]
    asked = ["--tasks", "IVIF", "MIF", "--data", str(mine), "--run-name", "half", *TINY, *own]
    assert job(*asked, log=log) == 1
    text = log.read_text()
    assert "IVIF: done" in text
    assert "MIF: FAILED" in text and "MIF/train" in text
    parent, children = runs_of(home, "half")
    assert parent.info.status == "FAILED"
    assert {task: run.info.status for task, run in children.items()} == {"IVIF": "FINISHED", "MIF": "FAILED"}
    assert "MIF/train" in children["MIF"].data.tags["error"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--schedule.epoch", "3"], "--schedule.epochs"),
        (["--tasks", "XVIF"], "XVIF"),
        (["--data", "/there/is/no/such/folder"], "/there/is/no/such/folder"),
        (["--images.crop", "0"], "--images.crop"),
        (["--workers", "0"], "--workers"),
        (["--workers", "999", "--images.batch", "999"], "--workers 999"),
        (["--resume", "nothing-of-this-name"], "nothing-of-this-name"),
        (["--run-name", "whole"], "--resume whole"),
        (["--resume", "whole", "--images.crop", "64"], "--images.crop"),
        (["--storage", "nix://somewhere"], "--storage"),
        (["--storage", "/proc/runs"], "/proc/runs cannot be written to"),
        (["--config", "no-such.yaml"], "no-such.yaml"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(home: Path, whole: str, arguments: list[str], named: str) -> None:
    with pytest.raises(UserError) as refused:
        job(*arguments)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_is_refused_where_there_is_none(home: Path) -> None:
    with pytest.raises(UserError, match="--gpu: there is no GPU in this cluster"):
        job("--gpu", "--tasks", "IVIF")


def test_bad_pairs_are_listed_or_skipped(home: Path, data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "pairs"
    shutil.copytree(data / "MFIF", mine / "MFIF")
    folder = mine / "MFIF" / "train"
    victim, other, *_ = sorted((folder / "a").iterdir())
    victim.write_text("this is no picture")
    (folder / "b" / other.name).unlink()
    with pytest.raises(UserError) as refused:
        job("--tasks", "MFIF", "--data", str(mine), *TINY)
    assert victim.name in str(refused.value) and other.name in str(refused.value)
    assert "--skip-bad-pairs" in str(refused.value)
    asked = ["--tasks", "MFIF", "--data", str(mine), "--skip-bad-pairs", "--run-name", "skipped", *TINY]
    assert job(*asked, "--schedule.epochs", "1", "--validation.pictures", "0") == 0
    child = runs_of(home, "skipped")[1]["MFIF"]
    path = client(home).download_artifacts(child.info.run_id, "skipped_pairs.txt")
    assert victim.name in Path(path).read_text()
