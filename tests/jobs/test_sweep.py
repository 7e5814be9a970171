"""The sweep as its user runs it: searched, recorded, killed, resumed; and what it says to wrong requests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from mlflow import MlflowClient
from rich.console import Console
from sweep_jobs import BASE, SPACE, job, recorded, records, scores

from refusion.cli.sweep import read_requests
from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.images.dataset import check_pairs
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.search.results.held_out import split_val
from refusion.search.sweep import run_sweep
from refusion.training.loop import TaskTraining

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.ray

# One process trains all trials, one after the other, since each takes seconds to start.
ONCE = ("--schedule.epochs", 1, "--max-concurrent", 1)


@pytest.fixture(scope="module")
def data(builtin: Path) -> Path:
    return builtin


@pytest.fixture(scope="module")
def population_file(sweep_file: Path) -> Path:
    file = sweep_file.with_name("pbt.yaml")
    file.write_text(yaml.safe_dump({"base": BASE, "space": SPACE, "sweep": {"task": ["IVIF"], "scheduler": "pbt"}}))
    return file


@pytest.fixture(scope="module")
def asha(home: Path, data: Path, sweep_file: Path) -> str:
    return job("--config", sweep_file, "--data", data, "--trials", 5, "--run-name", "asha", "--reduction", 2)


def test_a_sweep_stops_the_weak_trials_and_trains_the_others_to_the_end(home: Path, asha: str) -> None:
    trials = records(home, "asha")
    assert sorted(trials) == [0, 1, 2, 3, 4, 5]
    assert trials[0].ended == "finished"
    assert trials[0].values == {}
    assert {record.ended for record in trials.values()} == {"finished", "stopped"}
    for record in trials.values():
        assert record.epoch == (3 if record.ended == "finished" else record.epoch)
        assert sorted(record.history) == list(range(1, record.epoch + 1))
    assert any(record.ended == "stopped" and record.epoch < 3 for record in trials.values())
    assert "beyond its training" in asha
    assert "--resume asha" in asha
    page = home / "sweeps" / "asha" / "report.html"
    assert f"report:\n  {page}\n" in asha and page.is_file()


def test_mlflow_has_the_sweep_its_trials_and_its_best_model(home: Path, asha: str) -> None:
    sweep = recorded(home, "asha")
    trials = records(home, "asha")
    assert sweep.tags["kind"] == "sweep"
    assert sweep.spec["scheduler"] == "asha"
    assert sweep.spec["rungs"]
    assert {trial.number: trial.ended for trial in sweep.trials} == {n: record.ended for n, record in trials.items()}
    for trial in sweep.trials:
        assert trial.values == trials[trial.number].values
        for epoch, numbers in trials[trial.number].history.items():
            assert trial.history[epoch]["SSIM"] == pytest.approx(numbers["SSIM"])
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    parent = client.get_run(sweep.run_id)
    assert parent.info.status == "FINISHED"
    best = int(sweep.tags["best_trial"])
    (version,) = client.search_model_versions("name = 'refusion-IVIF'")
    assert version.run_id == next(trial.run_id for trial in sweep.trials if trial.number == best)


def test_the_settings_it_found_are_a_file_for_training(home: Path, asha: str) -> None:
    content = yaml.safe_load((home / "sweeps" / "asha" / "best.yaml").read_text())
    best = int(recorded(home, "asha").tags["best_trial"])
    settings = check([content])
    values = records(home, "asha")[best].values
    if values:
        assert settings.schedule.rate.value == values["schedule.rate.value"]  # type: ignore[union-attr]
        assert settings.schedule.inner_steps == values["schedule.inner_steps"]
    assert settings.schedule.epochs == 3


def test_the_same_seed_suggests_the_same_and_trains_the_same(home: Path, data: Path, sweep_file: Path) -> None:
    common = ("--config", sweep_file, "--data", data, "--trials", 1, "--search", "random", "--scheduler", "none", *ONCE)
    for name in ("one", "two"):
        job(*common, "--run-name", name)
    one, two = (records(home, name) for name in ("one", "two"))
    assert {n: record.values for n, record in one.items()} == {n: record.values for n, record in two.items()}
    assert scores(one) == scores(two)


def test_a_population_exchanges_and_its_best_can_be_trained_again(
    home: Path, data: Path, population_file: Path
) -> None:
    common = ("--config", population_file, "--data", data, "--trials", 3, "--interval", 1)
    job(*common, "--run-name", "pbt")
    trials = records(home, "pbt")
    exchanges = [entry for record in trials.values() for entry in record.lineage if entry["from"] is not None]
    assert exchanges
    assert all(entry["from"] != 0 for entry in exchanges)
    assert trials[0].lineage == [{"epoch": 0, "from": None, "values": {}}]

    sweep = recorded(home, "pbt")
    best = int(sweep.tags["best_trial"])
    settings = check([yaml.safe_load((home / "sweeps" / "pbt" / "best.yaml").read_text()), {"data": str(data)}])
    replayed = _train_whole(settings, sweep.spec["options"]["held_out"])
    kept = safetensors.torch.load_file(str(Path(trials[best].checkpoints[3]) / "IVIF" / "fusion.safetensors"))
    for name, weights in replayed.items():
        assert torch.equal(weights, kept[name]), name


def _train_whole(settings: Settings, held_out: float) -> dict[str, torch.Tensor]:
    """The fusion module after one training by these settings, on the pairs that the sweep's trials saw."""
    (pairs,) = check_pairs(settings.data, ("IVIF",), skip_bad=False)
    seen = split_val(pairs.val, held_out, settings.validation, settings.schedule.epochs).seen
    training = TaskTraining(settings, "IVIF", PairStore(pairs.train), PairStore(seen), Shard(), torch.device("cpu"))
    state = TrainingState(settings, "IVIF")
    assert len(list(training.epochs(state))) == settings.schedule.epochs
    return state.fusion.state_dict()


def test_trials_of_several_workers_are_stopped_and_leave_their_places(home: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "wild.yaml"
    # With 3 CPUs one at a time fits. The second one's pictures are noise, so that it is stopped midway.
    file.write_text(yaml.safe_dump({"base": BASE, "space": {"schedule.rate.value": [0.05, 1e-3]}}))
    text = job(
        "--config", file, "--data", data, "--task", "IVIF", "--search", "grid", "--scheduler", "asha", "--grace", 1,
        "--workers-per-trial", 2, "--schedule.epochs", 2, "--objective", "SSIM", "--run-name", "multi-worker",
    )  # fmt: skip
    trials = records(home, "multi-worker")
    assert (trials[1].ended, trials[1].epoch) == ("stopped", 1), text
    assert trials[0].ended == "finished", text
    assert all(record.ended in ("finished", "stopped") and record.checkpoints for record in trials.values()), text
    assert {trial.number: trial.ended for trial in recorded(home, "multi-worker").trials} == {
        number: record.ended for number, record in trials.items()
    }


def test_one_schedule_for_several_tasks(home: Path, data: Path, sweep_file: Path) -> None:
    job(
        "--config", sweep_file, "--data", data, "--trials", 1, "--search", "random", "--scheduler", "none",
        "--task", "IVIF", "MEIF", "--run-name", "both", *ONCE,
    )  # fmt: skip
    trials = records(home, "both")
    for record in trials.values():
        assert {"IVIF/SSIM", "MEIF/SSIM"} <= set(record.history[1])
    content = yaml.safe_load((home / "sweeps" / "both" / "best.yaml").read_text())
    assert content["tasks"] == ["IVIF", "MEIF"]


def test_a_trial_that_diverges_ends_alone(home: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "wild.yaml"
    # The process that diverges trains the next trial.
    space = {"schedule.rate.value": [1e18, 1e-3]}
    file.write_text(yaml.safe_dump({"base": BASE, "space": space}))
    text = job(
        "--config", file, "--data", data, "--task", "IVIF", "--search", "grid", "--scheduler", "none",
        "--run-name", "wild", *ONCE,
    )  # fmt: skip
    trials = records(home, "wild")
    assert len(trials) == 3
    assert trials[1].ended.startswith("diverged: IVIF: fusion step"), text
    assert trials[2].ended == "finished"
    assert next(t for t in recorded(home, "wild").trials if t.number == 1).ended == trials[1].ended


def test_more_than_the_cluster_has_is_refused_before_anything_is_written(
    home: Path, data: Path, sweep_file: Path
) -> None:
    with pytest.raises(UserError, match=r"--workers-per-trial 9: a trial needs 1 CPU for its driver and 9 × 1 CPU"):
        job("--config", sweep_file, "--data", data, "--workers-per-trial", 9, "--images.batch", 9, "--run-name", "big")
    assert not (home / "sweeps" / "big").exists()


def test_a_warm_start_begins_with_the_best_of_before(home: Path, data: Path, sweep_file: Path, asha: str) -> None:
    job(
        "--config", sweep_file, "--data", data, "--trials", 1, "--scheduler", "none", "--warm-start", "asha",
        "--validation.pictures", 1, "--run-name", "warm", *ONCE,
    )  # fmt: skip
    assert records(home, "warm")[1].values in [record.values for record in records(home, "asha").values()]
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    for trial in recorded(home, "warm").trials:
        assert client.list_artifacts(trial.run_id, "images")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "IVIR"], "--task"),
        (["--task", "IVIF", "--scheduler", "ashaa"], "--scheduler"),
        (["--task", "IVIF", "--objective", "EN"], "--objective EN"),
        (["--task", "IVIF", "--grace", "99"], "--grace 99"),
        (["--task", "IVIF", "--trials", "0"], "--trials"),
        (["--resume", "nowhere"], "--resume nowhere: there is no such sweep"),
        (["--task", "IVIF", "--scheduler", "pbt", "--workers-per-trial", "2"], "--scheduler pbt"),
        (["--task", "IVIF", "--schedule.rat", "1e-4"], "--schedule.rat"),
        (["--task", "IVIF", "--config", "nowhere.yaml"], "--config nowhere.yaml"),
        (["--task", "IVIF", "--data", "/nowhere"], "--data /nowhere"),
    ],
)
def test_wrong_requests_are_refused_in_one_sentence(home: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        run_sweep(read_requests(arguments)[0], Console(file=io.StringIO()))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_users_mistake_ends_the_job_with_status_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "sweep.py"), "--task", "IVIF", "--scheduler", "ashaa"]
    environment = {**os.environ, "REFUSION_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--scheduler" in done.stderr
