from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from refusion.errors import UserError
from refusion.tracking import sweeps
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run
from refusion.tracking.settings import TAG_LIMIT
from refusion.tracking.sweeps import RecordedTrial, read_sweep, start_sweep_run, start_trial_run, trial_tags

SPEC = {"name": "s", "tasks": ["IVIF"], "space": {"objective.alpha": {"low": 1e-5, "high": 2.0}}, "rungs": [1, 3]}


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


def read(uri: str, name: str) -> dict[int, RecordedTrial]:
    return {trial.number: trial for trial in read_sweep(uri, "study", name).trials}


def test_what_is_written_is_read_back(uri: str, experiment: str) -> None:
    parent = start_sweep_run(uri, experiment, "whole", {"seed": 3}, {"task": "IVIF", "searcher": "random"}, SPEC)
    lineage = [{"epoch": 0, "from": None, "values": {"objective.alpha": 1.0}}, {"epoch": 2, "from": 4, "values": {}}]
    for number, values in ((7, {"objective.alpha": 0.1 + 0.2, "_kind": ["ö", None]}), (0, {})):
        run = start_trial_run(uri, experiment, parent, "whole", "IVIF", number, {"seed": 3}, trial_tags(values))
        recorder = TaskRecorder(uri, run)
        for epoch in (1, 2):
            recorder.epoch(epoch, {"SSIM": number + epoch / 10, "score": math.nan, "system/cpu": 1.0})
        if number:
            recorder.finish("FINISHED", trial_tags(ended="stopped", lineage=lineage))
    assert sweeps.log_sweep_results(uri, parent, 7, "seed: 3\n", {"better": True, "mean": 0.1}) is None

    sweep = read_sweep(uri, "study", "whole")
    assert (sweep.name, sweep.run_id, sweep.spec) == ("whole", parent, SPEC)
    assert {"kind": "sweep", "convention": "authors", "searcher": "random", "best_trial": "7"}.items() <= (
        sweep.tags.items()
    )
    assert (sweep.best_yaml, sweep.comparison) == ("seed: 3\n", {"better": True, "mean": 0.1})
    default, other = sweep.trials
    assert (default.number, default.values, default.ended) == (0, {}, "running")
    assert default.lineage == [{"epoch": 0, "from": None, "values": {}}]
    assert (other.number, other.ended, other.lineage) == (7, "stopped", lineage)
    assert other.values == {"objective.alpha": 0.1 + 0.2, "_kind": ["ö", None]}
    assert {epoch: row["SSIM"] for epoch, row in other.history.items()} == {1: 7.1, 2: 7.2}
    assert set(other.history[1]) == {"SSIM", "score"}
    assert math.isnan(other.history[1]["score"])
    assert 0 <= other.seconds < 60


def test_an_unfinished_sweep_has_no_outcome_yet(uri: str, experiment: str) -> None:
    start_sweep_run(uri, experiment, "early", {}, {}, SPEC)
    sweep = read_sweep(uri, "study", "early")
    assert (sweep.trials, sweep.best_yaml, sweep.comparison) == ([], None, None)


def test_resume_reopens_the_sweep_and_its_trials(uri: str, experiment: str, client: MlflowClient) -> None:
    first = start_sweep_run(uri, experiment, "again", {"seed": 0}, {"searcher": "random"}, SPEC)
    trial = start_trial_run(uri, experiment, first, "again", "all", 1, {}, trial_tags({"x": 1}, lineage=[]))
    TaskRecorder(uri, trial).epoch(1, {"SSIM": 0.1})
    client.set_terminated(trial, "KILLED")
    client.set_terminated(first, "KILLED")

    longer = {**SPEC, "trials": 40}
    assert start_sweep_run(uri, experiment, "again", {"seed": 0}, {"storage": "d"}, longer, resumed=True) == first
    assert start_trial_run(uri, experiment, first, "again", "all", 1, {}, trial_tags({"x": 1})) == trial
    TaskRecorder(uri, trial).epoch(1, {"SSIM": 0.2})
    assert [client.get_run(run).info.status for run in (first, trial)] == ["RUNNING", "RUNNING"]
    assert client.get_run(trial).info.run_name == "trial 1 · again"
    sweep = read_sweep(uri, "study", "again")
    assert (sweep.spec, sweep.tags["storage"], sweep.tags["searcher"]) == (longer, "d", "random")
    assert sweep.trials[0].history == {1: {"SSIM": 0.2}}
    assert start_sweep_run(uri, experiment, "again", {}, {}, SPEC) != first
    assert start_sweep_run(uri, experiment, "nothing yet", {}, {}, SPEC, resumed=True) != first


def test_a_lineage_longer_than_a_tag(uri: str, experiment: str) -> None:
    parent = start_sweep_run(uri, experiment, "long", {}, {}, SPEC)
    long = [{"epoch": epoch, "from": 3, "values": {"schedule.rate.value": 1 / (epoch + 3)}} for epoch in range(300)]
    tags = trial_tags({}, lineage=long)
    assert len(tags) > 3
    assert max(map(len, tags.values())) <= TAG_LIMIT
    start_trial_run(uri, experiment, parent, "long", "IVIF", 1, {}, tags)
    assert read(uri, "long")[1].lineage == long
    start_trial_run(uri, experiment, parent, "long", "IVIF", 1, {}, trial_tags({}, lineage=long[:2]))
    assert read(uri, "long")[1].lineage == long[:2]


def test_more_trials_than_one_page(uri: str, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = start_sweep_run(uri, experiment, "many", {}, {}, SPEC)
    for number in range(5):
        start_trial_run(uri, experiment, parent, "many", "IVIF", number, {}, {})
    monkeypatch.setattr(sweeps, "_PAGE", 2)
    assert sorted(read(uri, "many")) == [0, 1, 2, 3, 4]


def test_what_cannot_be_found_is_named(uri: str, experiment: str, tmp_path: Path) -> None:
    start_job_run(uri, experiment, "a training", {}, {"kind": "train"})
    start_sweep_run(uri, experiment, "there", {}, {}, SPEC)
    with pytest.raises(UserError, match=r"'a training'.* no such sweep; there are .*there"):
        read_sweep(uri, "study", "a training")
    with pytest.raises(UserError, match=r"'elsewhere'.* no such experiment"):
        read_sweep(uri, "elsewhere", "there")
    with pytest.raises(UserError, match="no MLflow store"):
        read_sweep(f"sqlite:///{tmp_path}/none.db", "study", "there")
    foreign = start_job_run(uri, experiment, "foreign", {}, {"kind": "sweep"})
    assert foreign
    with pytest.raises(UserError, match=r"'foreign' has no sweep\.yaml"):
        read_sweep(uri, "study", "foreign")


def test_results_that_cannot_be_written_are_said(uri: str) -> None:
    trouble = sweeps.log_sweep_results(uri, "f" * 32, 1, yaml.safe_dump({}), None)
    assert trouble is not None
    assert "f" * 32 in trouble
