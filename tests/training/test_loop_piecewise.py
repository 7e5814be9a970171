"""Trainings whose settings change with the epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from refusion.config.layers import check
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training import loop
from refusion.training.checkpoints import load_checkpoint, save_checkpoint
from refusion.training.loop import TaskTraining
from refusion.training.reports import EpochReport
from refusion.training.validation import Measured

LOSSES = {f"loss/{name}" for name in ("inner", "outer", "fusion", "reconstruction")}
SCHEDULE = {"rate", "inner_rate", "inner_steps", "beta"}
CONSTANT = {
    "schedule": {"rate": {"kind": "constant", "value": 1e-3}, "meta_iterations": 3},
    "outer": {"accumulate": 2},
    # Saliency is all or nothing on such pairs, and hides what P does.
    "network": {"prior": "none"},
}
CHANGES: dict[str, tuple[Any, Any]] = {
    "schedule.rate": (1e-3, 3e-4),
    "schedule.inner_rate": (2e-3, 1 / 3),
    "schedule.inner_steps": (1, 2),
    "objective.alpha": (1.0, 0.1),
    "objective.beta": (0.3, 2.0),
    "outer.ratio": (1.0, 1 / 7),
    "images.crop": (16, 24),
    "images.subset": (2, 4),
    "validation.images": (1, 2),
}


def told(training: TaskTraining, *changes: dict[str, Any]) -> TaskTraining:
    return replace(training, settings=check(changes, training.settings))


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in state.modules().items()
        for key, value in module.state_dict().items()
    }


def run(training: TaskTraining) -> tuple[TrainingState, list[EpochReport]]:
    state = TrainingState(training.settings, "IVIF")
    return state, list(training.epochs(state))


def nested(name: str, value: Any) -> dict[str, Any]:
    section, _, key = name.partition(".")
    return {section: {key: value}}


def piecewise(name: str) -> Any:
    values = dict(enumerate(CHANGES[name]))
    return {"kind": "piecewise", "values": values} if name.endswith("rate") else values


def first_and_second(training: TaskTraining, names: list[str], folder: Path) -> tuple[TrainingState, list[EpochReport]]:
    """Both epochs with the constant values of each, a checkpoint between them."""
    before, after = (told(training, *(nested(name, CHANGES[name][part]) for name in names)) for part in (0, 1))
    stopped = TrainingState(before.settings, "IVIF")
    first = next(before.epochs(stopped))
    save_checkpoint(folder, stopped, before.settings, "IVIF", first.numbers)
    resumed = TrainingState(after.settings, "IVIF")
    load_checkpoint(folder, resumed)
    return resumed, [first, *after.epochs(resumed)]


@pytest.mark.slow
@pytest.mark.parametrize("names", [*([name] for name in CHANGES), list(CHANGES)], ids=lambda names: "+".join(names))
@pytest.mark.usefixtures("quick")
def test_piecewise_settings_train_bit_by_bit_like_stopping_and_going_on_with_other_values(
    training: TaskTraining, names: list[str], tmp_path: Path
) -> None:
    # Three meta-iterations per epoch, two per outer step: the change falls into the middle of an accumulation.
    training = told(training, CONSTANT)
    whole, reports = run(told(training, *(nested(name, piecewise(name)) for name in names)))
    resumed, parts = first_and_second(training, names, tmp_path)

    for one, other in zip(reports, parts, strict=True):
        assert one.is_best == other.is_best
        assert all(one.numbers[name] == other.numbers[name] for name in LOSSES | SCHEDULE)
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    torch.testing.assert_close(resumed.progress(), whole.progress(), rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "validation.images"])
@pytest.mark.usefixtures("quick")
def test_every_piecewise_value_is_felt_from_its_epoch_on_and_not_before(training: TaskTraining, name: str) -> None:
    training = told(training, CONSTANT)
    _, changing = run(told(training, nested(name, piecewise(name))))
    _, constant = run(told(training, nested(name, CHANGES[name][0])))
    first, second = ([report.numbers[loss] for loss in sorted(LOSSES)] for report in changing)
    assert first == [constant[0].numbers[loss] for loss in sorted(LOSSES)]
    assert second != [constant[1].numbers[loss] for loss in sorted(LOSSES)]


@pytest.mark.usefixtures("quick")
def test_a_tied_inner_rate_is_the_same_as_piecewise_ratio_times_rate(training: TaskTraining) -> None:
    rates = {0: 1e-3, 1: 3e-4}
    training = told(training, {"schedule": {"rate": {"kind": "piecewise", "values": rates}}})
    tied, _ = run(told(training, {"schedule": {"inner_rate": {"kind": "tied", "ratio": 0.7}}}))
    own = {epoch: 0.7 * rate for epoch, rate in rates.items()}
    untied, _ = run(told(training, {"schedule": {"inner_rate": {"kind": "piecewise", "values": own}}}))
    expected = weights(tied)
    assert all(torch.equal(value, expected[name]) for name, value in weights(untied).items())


def test_scores_on_other_numbers_of_pairs_are_not_compared(training: TaskTraining, quick: list[float]) -> None:
    quick += [0.9, 0.8, 0.5, 0.6, 0.55]
    short = {"epochs": 5, "meta_iterations": 0, "fusion_steps": 1}
    growing = told(training, {"schedule": short, "validation": {"images": {0: 1, 2: 2, 4: 9}}})
    state, reports = run(growing)
    # There are two pairs: nine are two.
    assert [report.is_best for report in reports] == [True, False, True, True, False]
    assert (state.best_score, state.validated_pairs) == (0.6, 2)


def test_validation_measures_the_pairs_of_its_epoch(training: TaskTraining) -> None:
    state, reports = run(told(training, {"validation": {"images": {0: 1, 1: 2}, "pictures": 9}}))
    assert [set(report.pictures) for report in reports] == [
        {"fused/scene_1", "weights/scene_1", f"sheet/{training.task}"},
        {"fused/scene_0", "weights/scene_0", "fused/scene_1", "weights/scene_1", f"sheet/{training.task}"},
    ]
    assert reports[0].numbers["baseline/SSIM"] != reports[1].numbers["baseline/SSIM"]
    assert state.validated_pairs == 2


def test_one_pass_is_over_the_subset_of_the_epoch(training: TaskTraining, quick: list[float]) -> None:
    assert quick == []
    one_pass = {"meta_iterations": 0, "fusion_steps": None}
    state, _ = run(told(training, {"schedule": one_pass, "images": {"subset": {0: 2, 1: 5}}}))
    assert state.fusion_steps == 1 + 3


def test_the_baseline_is_measured_once_for_the_same_pairs(
    training: TaskTraining, quick: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def average_baseline(_store: PairStore, indices: list[int], _share: Shard) -> Measured:
        asked.append(indices)
        return Measured({"scene_0": {"Qabf": float(len(indices))}})

    monkeypatch.setattr(loop, "average_baseline", average_baseline)
    short = {"epochs": 3, "meta_iterations": 0, "fusion_steps": 1}
    shared: dict[tuple[int, ...], dict[str, float]] = {}
    growing = replace(told(training, {"schedule": short, "validation": {"images": {0: 1, 1: 2}}}), baselines=shared)
    for _ in range(2):
        _, reports = run(growing)
        assert [report.numbers["baseline/Qabf"] for report in reports] == [1.0, 2.0, 2.0]
    assert asked == [[1], [0, 1]]
    assert {indices: found.means() for indices, found in shared.items()} == {(1,): {"Qabf": 1.0}, (0, 1): {"Qabf": 2.0}}
