from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from refusion.config.layers import check
from refusion.errors import TrainingDivergedError, UserError
from refusion.meta.state import TrainingState
from refusion.search.manifest import SweepManifest, SweepRequest, open_manifest
from refusion.search.results.replay import Change, replayed
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining
from refusion.training import loop
from refusion.training.checkpoints import read_metrics
from refusion.training.loop import TaskTraining
from refusion.training.reports import Progress

RATE, STEPS, ALPHA = "schedule.rate.value", "schedule.inner_steps", "objective.alpha"
RATIO = "schedule.inner_rate.ratio"
# How long something took is no matter of what was learnt.
TIMES = (*(f"time/{name}_seconds" for name in ("training", "validation", "data", "cpu", "gpu")), "images_per_second")
VALUES = {RATE: 2e-3, STEPS: 2, ALPHA: 0.5}


@pytest.fixture
def manifest_of(request_of: Callable[..., SweepRequest]) -> Callable[..., SweepManifest]:
    return lambda *tasks, **given: open_manifest(request_of(task=list(tasks or ("IVIF",)), **given))


@pytest.fixture
def plan(manifest_of: Callable[..., SweepManifest], plan_of: Callable[..., TrialPlan]) -> Callable[..., TrialPlan]:
    return lambda *tasks, **given: plan_of(manifest_of(*tasks, **given))


@pytest.fixture
def cache(plan: Callable[..., TrialPlan]) -> TrialCache:
    return TrialCache(plan())


def learnt(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if not name.endswith(TIMES)}


def weights(training: TrialTraining) -> dict[str, torch.Tensor]:
    return {
        f"{task}/{name}": value for task, state in training.states.items() for name, value in of_state(state).items()
    }


def of_state(state: TrainingState) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value for name, module in state.modules().items() for key, value in module.state_dict().items()
    }


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_plan_travels_and_gives_each_trial_its_settings(plan: Callable[..., TrialPlan]) -> None:
    there = pickle.loads(pickle.dumps(plan()))
    settings = there.settings(VALUES)
    assert (settings.schedule.rate.value, settings.schedule.inner_steps, settings.objective.alpha) == (2e-3, 2, 0.5)
    assert there.settings({}).model_dump(mode="json") == there.base
    # Plain values only: nothing in it needs our classes.
    assert yaml.safe_load(yaml.safe_dump([there.base, there.space])) == [there.base, there.space]


def test_values_that_do_not_go_together_are_refused(cache: TrialCache) -> None:
    with pytest.raises(UserError, match=r"^--schedule.inner_steps must be"):
        TrialTraining(cache, {STEPS: 99})


def test_a_trial_trains_epoch_by_epoch_to_its_end(plan: Callable[..., TrialPlan]) -> None:
    training = TrialTraining(TrialCache(plan(base={"schedule": {"epochs": 2}})), VALUES)
    assert (training.epoch, training.done) == (0, False)
    numbers = training.train_epoch()
    assert (training.epoch, training.done) == (1, False)
    assert (numbers["rate"], numbers["inner_steps"]) == (2e-3, 2)
    assert 0 < numbers["Qabf"] < 1
    training.train_epoch()
    assert (training.epoch, training.done) == (2, True)


def test_one_task_trains_as_it_would_without_a_sweep(cache: TrialCache) -> None:
    training = TrialTraining(cache, VALUES)
    numbers = training.train_epoch()
    train, val = cache.stores["IVIF"]
    alone = TaskTraining(cache.plan.settings(VALUES), "IVIF", train, val, training.shard, training.device)
    state = TrainingState(alone.settings, "IVIF")
    assert learnt(next(alone.epochs(state)).numbers) == learnt(numbers)
    assert same(of_state(state), of_state(training.states["IVIF"]))


@pytest.mark.slow
def test_two_tasks_of_one_trial_train_as_each_does_alone(plan: Callable[..., TrialPlan]) -> None:
    together = TrialTraining(TrialCache(plan("IVIF", "MIF")), VALUES)
    for _ in range(2):
        both = learnt(together.train_epoch())
    for task in ("IVIF", "MIF"):
        alone = TrialTraining(TrialCache(plan(task)), VALUES)
        for _ in range(2):
            own = learnt(alone.train_epoch())
        assert {f"{task}/{name}": number for name, number in own.items()}.items() <= both.items()
        assert same(of_state(alone.states[task]), of_state(together.states[task]))
    assert all(name.startswith(("IVIF/", "MIF/")) for name in both)


def test_a_trial_goes_on_from_its_checkpoint_bit_by_bit(plan: Callable[..., TrialPlan], tmp_path: Path) -> None:
    cache = TrialCache(plan("IVIF", "MIF"))
    whole = TrialTraining(cache, VALUES)
    whole.train_epoch()
    whole.save(tmp_path)
    expected = learnt(whole.train_epoch())

    resumed = TrialTraining(TrialCache(cache.plan), VALUES)
    resumed.load(tmp_path)
    assert resumed.epoch == 1
    assert learnt(resumed.train_epoch()) == expected
    assert same(weights(resumed), weights(whole))
    for task, state in resumed.states.items():
        torch.testing.assert_close(state.progress(), whole.states[task].progress(), rtol=0, atol=0)


def test_a_checkpoint_holds_numbers_settings_and_pictures_of_each_task(
    plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    training = TrialTraining(TrialCache(plan("IVIF", "MIF")), VALUES)
    numbers = training.train_epoch()
    training.save(tmp_path)
    for task in ("IVIF", "MIF"):
        assert read_metrics(tmp_path / task)["Qabf"] == numbers[f"{task}/Qabf"]
        settings = yaml.safe_load((tmp_path / task / "settings.yaml").read_text())
        assert (settings["task"], settings["objective"]["alpha"]) == (task, 0.5)
        found = sorted(path.relative_to(tmp_path / task).as_posix() for path in (tmp_path / task).rglob("*.png"))
        pictures = ("fused/scene_1", f"sheet/{task}", "weights/scene_1")
        assert found == [f"pictures/{name}.png" for name in pictures]


@pytest.mark.parametrize("tasks", [("IVIF",), ("IVIF", "MIF")])
def test_the_numbers_of_an_epoch_are_read_from_its_checkpoint(
    plan: Callable[..., TrialPlan], tmp_path: Path, tasks: tuple[str, ...]
) -> None:
    training = TrialTraining(TrialCache(plan(*tasks)), {})
    numbers = training.train_epoch()
    training.save(tmp_path)
    assert TrialTraining(training.cache, {}).saved_numbers(tmp_path) == numbers


def test_a_checkpoint_of_other_networks_is_refused(plan: Callable[..., TrialPlan], tmp_path: Path) -> None:
    TrialTraining(TrialCache(plan()), {}).save(tmp_path)
    wider = TrialTraining(TrialCache(plan(base={"network": {"width": 16}})), {})
    with pytest.raises(UserError, match="is no checkpoint of these settings"):
        wider.load(tmp_path)
    with pytest.raises(UserError, match=r"fusion\.safetensors"):
        wider.load(tmp_path / "gone")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "changes"),
    [
        (
            {
                RATE: {"low": 1e-4, "high": 1e-2},
                STEPS: {"low": 1, "high": 3},
                ALPHA: {"low": 0.1, "high": 4.0},
                "objective.beta": {"low": 0.1, "high": 4.0},
                "outer.ratio": {"low": 0.1, "high": 10.0},
                RATIO: {"low": 0.1, "high": 10.0},
            },
            [
                {RATE: 2e-3, STEPS: 1, ALPHA: 0.5, "objective.beta": 2.0, "outer.ratio": 1 / 3, RATIO: 0.7},
                {RATE: 1e-3, STEPS: 3, ALPHA: 1.1, "objective.beta": 0.3, "outer.ratio": 1 / 7, RATIO: 0.7},
                {RATE: 1e-3, STEPS: 2, ALPHA: 1.1, "objective.beta": 0.9, "outer.ratio": 1 / 7, RATIO: 1.3},
            ],
        ),
        (
            {RATE: {"low": 1e-4, "high": 1e-2}, "schedule.inner_rate.value": {"low": 1e-4, "high": 1e-1}},
            [
                {RATE: 2e-3, "schedule.inner_rate.value": 1e-3},
                {RATE: 1e-3, "schedule.inner_rate.value": 1e-3},
                {RATE: 1e-3, "schedule.inner_rate.value": 1 / 300},
            ],
        ),
    ],
    ids=["tied", "own"],
)
def test_values_that_change_between_epochs_are_repeated_by_one_training(
    manifest_of: Callable[..., SweepManifest],
    plan_of: Callable[..., TrialPlan],
    space: dict[str, Any],
    changes: list[dict[str, float]],
    tmp_path: Path,
) -> None:
    """Repeats what PBT does to a trial by the settings that its best.yaml will hold; epoch 2 keeps epoch 1's values."""
    inner = {"schedule": {"inner_rate": 1e-3}} if RATIO not in space else {}
    manifest = manifest_of(space=space, base=inner)
    cache = TrialCache(plan_of(manifest))
    told: list[dict[str, float]] = []
    for epoch, values in enumerate([changes[0], changes[1], changes[1], changes[2]]):
        changing = TrialTraining(cache, values)
        if epoch:
            changing.load(tmp_path / str(epoch))
        told.append(learnt(changing.train_epoch()))
        changing.save(tmp_path / str(epoch + 1))

    history = [Change(epoch, values) for epoch, values in zip((0, 1, 3), changes, strict=True)]
    settings = check([replayed(manifest.space, manifest.base, history)], manifest.base)
    train, val = cache.stores["IVIF"]
    state = TrainingState(settings, "IVIF")
    replay = TaskTraining(settings, "IVIF", train, val, changing.shard, changing.device)
    assert [learnt(report.numbers) for report in replay.epochs(state)] == told
    assert same(of_state(state), of_state(changing.states["IVIF"]))
    torch.testing.assert_close(state.progress(), changing.states["IVIF"].progress(), rtol=0, atol=0)


def test_trials_of_one_process_measure_the_average_of_the_sources_once(
    cache: TrialCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    measure = loop.average_baseline

    def counted(*arguments: Any) -> Any:
        measured.append(1)
        return measure(*arguments)

    monkeypatch.setattr(loop, "average_baseline", counted)
    first = TrialTraining(cache, VALUES).train_epoch()
    second = TrialTraining(cache, {}).train_epoch()
    assert len(measured) == 1
    assert second["baseline/Qabf"] == first["baseline/Qabf"] > 0
    assert second["Qabf"] != first["Qabf"]


def test_who_watches_is_told_of_every_task(plan: Callable[..., TrialPlan]) -> None:
    told: list[tuple[str, Progress]] = []
    training = TrialTraining(
        TrialCache(plan("IVIF", "MIF")), {}, watch=lambda task, progress: told.append((task, progress))
    )
    training.train_epoch()
    assert list(dict.fromkeys(task for task, _ in told)) == ["IVIF", "MIF"]
    assert {progress.phase for task, progress in told if task == "MIF"} == {"meta", "fusion", "validation"}


def test_a_rate_that_is_far_too_high_is_told_as_divergence(plan: Callable[..., TrialPlan]) -> None:
    training = TrialTraining(TrialCache(plan(base={"schedule": {"fusion_steps": 12}})), {RATE: 1e30})
    with pytest.raises(TrainingDivergedError, match=r"^IVIF: meta step .* such steps are more than half of"):
        training.train_epoch()
    assert training.epoch == 0


def test_a_note_is_shown_once_however_many_epochs_say_it(cache: TrialCache, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("no compiler", "no compiler", "no bfloat16", "no compiler"):
        cache.note(text)
    assert [record.getMessage() for record in caplog.records] == ["no compiler", "no bfloat16"]
