"""The epochs of one task in one process, without Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from refusion.config.layers import check
from refusion.errors import TrainingDivergedError
from refusion.meta.state import TrainingState
from refusion.metrics import METRICS
from refusion.ops.backend import native_library
from refusion.ops.native import library
from refusion.training import batches
from refusion.training.batches import Waits, read_ahead
from refusion.training.checkpoints import load_checkpoint, save_checkpoint
from refusion.training.loop import TaskTraining
from refusion.training.reports import PAIRS, EpochReport, Losses, Progress

FUSION_LOSSES = {"loss/fusion", "loss/fusion_intensity", "loss/fusion_gradient", "loss/reconstruction"}
LOSSES = {"loss/inner", "loss/outer", *FUSION_LOSSES}
SIGNALS = {
    *("signal/meta_gradient_norm", "signal/meta_gradient_cosine"),
    *(
        f"signal/{letter}_{name}"
        for letter in "wv"
        for name in ("mean", "spread", "entropy", "saturated", "brighter", "salient")
    ),
}
SCHEDULE = {"rate", "inner_rate", "inner_steps", "beta"}
TIMES = {*(f"time/{name}_seconds" for name in ("training", "data", "cpu", "gpu")), "images_per_second", "pairs_seen"}


def told(training: TaskTraining, *changes: dict[str, Any]) -> TaskTraining:
    return replace(training, settings=check(changes, training.settings))


def without_signals(notes: list[str]) -> list[str]:
    """Notes but for those on the signal of a training that is far too short to have one."""
    return [note for note in notes if "have collapsed" not in note and "do not agree" not in note]


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in state.modules().items()
        for key, value in module.state_dict().items()
    }


def run(training: TaskTraining) -> tuple[TrainingState, list[EpochReport]]:
    state = TrainingState(training.settings, "IVIF")
    return state, list(training.epochs(state))


def test_every_epoch_is_reported_with_losses_schedule_speed_and_scores(training: TaskTraining) -> None:
    state, reports = run(told(training, {"objective": {"beta_ramp": "linear"}}))
    assert [report.epoch for report in reports] == [1, 2]
    for report in reports:
        scores = set(METRICS) | {f"baseline/{name}" for name in METRICS}
        assert set(report.numbers) == LOSSES | SIGNALS | SCHEDULE | TIMES | scores | {"time/validation_seconds", PAIRS}
        assert all(math.isfinite(value) for value in report.numbers.values())
        assert report.validated
        assert set(report.pictures) == {"fused/scene_1", "weights/scene_1", f"sheet/{training.task}"}
    assert [report.numbers["beta"] for report in reports] == [0.5, 1.0]
    assert (state.epoch, state.meta_steps, state.fusion_steps) == (2, 4, 6)
    assert state.best_score == max(report.numbers["Qabf"] for report in reports)


@pytest.mark.usefixtures("quick")
def test_both_phases_waits_for_images_are_a_part_of_the_training_time(
    training: TaskTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[range] = []

    def slow(make: Callable[[int], Any], of: range, waits: Waits) -> Iterator[Any]:
        steps.append(of)
        waits.seconds += 1000.0
        return read_ahead(make, of, waits)

    _, (usual, _) = run(training)
    assert 0 < usual.numbers["time/data_seconds"] < usual.numbers["time/training_seconds"]
    monkeypatch.setattr(batches, "read_ahead", slow)
    _, reports = run(training)
    assert steps == [range(2), range(3), range(2, 4), range(3, 6)]
    assert [report.numbers["time/data_seconds"] // 1000 for report in reports] == [2, 2]


@pytest.mark.usefixtures("quick", "native")
def test_compiled_code_changes_the_numbers_by_rounding_only(training: TaskTraining) -> None:
    # Smaller networks than the code serves would train the same way with and without it.
    training = told(training, {"network": {"width": 16, "heads": 8, "reconstruction_width": 16}})
    compiled, _ = run(training)
    assert native_library() is not None
    eager, _ = run(told(training, {"compile": False}))
    assert native_library() is None
    differs = False
    for name, value in weights(eager).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-3, atol=1e-5)
        differs = differs or not torch.equal(weights(compiled)[name], value)
    assert differs


@pytest.mark.usefixtures("quick")
def test_without_a_compiler_training_says_so_once_and_goes_on(
    training: TaskTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "compiled", lambda: "no C++ compiler")
    notes: list[str] = []
    without, _ = run(replace(training, note=notes.append))
    (note,) = without_signals(notes)
    assert note.startswith("--compile: ") and note.endswith(": no C++ compiler")
    assert native_library() is None
    for name, value in weights(run(training)[0]).items():
        assert torch.equal(weights(without)[name], value)


@pytest.mark.usefixtures("quick", "bfloat16")
def test_bfloat16_is_near_single_precision_and_its_parameters_are_float32(training: TaskTraining) -> None:
    state, _ = run(told(training, {"precision": "bfloat16"}))
    start, exact = weights(TrainingState(training.settings, "IVIF")), weights(run(training)[0])
    for name, value in weights(state).items():
        assert value.dtype == exact[name].dtype
    moved, rounded = (
        torch.cat([(found[name] - start[name]).flatten() for name in start]) for found in (exact, weights(state))
    )
    assert 0 < (rounded - moved).norm() < 0.3 * moved.norm()


@pytest.mark.usefixtures("quick")
def test_a_processor_without_bfloat16_trains_in_float32_and_says_so(
    training: TaskTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    notes: list[str] = []
    without, _ = run(replace(told(training, {"precision": "bfloat16"}), note=notes.append))
    assert without_signals(notes) == [
        "--precision bfloat16: trains in float32, since this CPU computes in bfloat16 no faster than in float32"
    ]
    for name, value in weights(run(training)[0]).items():
        assert torch.equal(weights(without)[name], value)


def test_training_moves_every_module(training: TaskTraining, quick: list[float]) -> None:
    assert quick == []
    fresh = weights(TrainingState(training.settings, "IVIF"))
    trained = weights(run(training)[0])
    for module in ("fusion", "loss_proposal", "reconstruction"):
        names = [name for name in fresh if name.startswith(module)]
        assert any(not torch.equal(fresh[name], trained[name]) for name in names)


@pytest.mark.parametrize(
    ("epochs", "every", "validated"), [(4, 1, [1, 2, 3, 4]), (4, 2, [2, 4]), (5, 2, [2, 4, 5]), (2, 9, [2])]
)
@pytest.mark.usefixtures("quick")
def test_validation_comes_as_often_as_told_and_after_the_last_epoch(
    training: TaskTraining, epochs: int, every: int, validated: list[int]
) -> None:
    few = {"epochs": epochs, "meta_iterations": 0, "fusion_steps": 1}
    _, reports = run(told(training, {"schedule": few, "validation": {"every": every}}))
    assert [report.epoch for report in reports if report.validated] == validated
    for report in reports:
        assert ("Qabf" in report.numbers) == ("time/validation_seconds" in report.numbers) == report.validated


def test_the_best_epoch_is_the_one_with_the_highest_finite_score(training: TaskTraining, quick: list[float]) -> None:
    quick += [math.nan, 0.4, 0.4, 0.5, 0.3]
    state, reports = run(told(training, {"schedule": {"epochs": 5, "meta_iterations": 0, "fusion_steps": 1}}))
    assert [report.is_best for report in reports] == [False, True, False, True, False]
    assert state.best_score == 0.5


@pytest.mark.usefixtures("quick")
def test_losses_are_reported_of_the_phases_that_ran(training: TaskTraining) -> None:
    _, (report,) = run(told(training, {"schedule": {"epochs": 1, "meta_iterations": 0}}))
    assert {name for name in report.numbers if name.startswith("loss/")} == FUSION_LOSSES


@pytest.mark.parametrize(("batch", "steps"), [(1, 5), (2, 3), (5, 1), (8, 1)])
@pytest.mark.usefixtures("quick")
def test_one_pass_over_the_pairs_unless_told_otherwise(training: TaskTraining, batch: int, steps: int) -> None:
    one_pass = {"schedule": {"epochs": 1, "meta_iterations": 0, "fusion_steps": None}, "images": {"batch": batch}}
    state, _ = run(told(training, one_pass))
    assert state.fusion_steps == steps


def test_progress_rises_to_the_whole_and_names_the_phases(training: TaskTraining) -> None:
    seen: list[Progress] = []
    run(replace(training, watch=seen.append))
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert seen[-1].done == 1.0
    assert 0.5 in [progress.done for progress in seen]
    assert {progress.phase for progress in seen if progress.done in (0.5, 1.0)} == {"validation"}
    assert {progress.phase for progress in seen} >= {"meta", "fusion"}
    assert set(next(progress for progress in reversed(seen) if progress.phase == "fusion").numbers) >= LOSSES
    assert all(1 <= progress.step <= progress.steps for progress in seen)


@pytest.mark.parametrize("steps", [[[0, 1], [1, 2]], {"start": 1, "end": 2}])
@pytest.mark.usefixtures("quick")
def test_inner_steps_follow_their_schedule(training: TaskTraining, steps: object) -> None:
    _, reports = run(told(training, {"schedule": {"inner_steps": steps, "meta_iterations": 1}}))
    assert [report.numbers["inner_steps"] for report in reports] == [1, 2]


@pytest.mark.usefixtures("quick")
def test_a_training_whose_numbers_are_lost_stops_and_says_what_to_do(training: TaskTraining) -> None:
    state = TrainingState(training.settings, "IVIF")
    with torch.no_grad():
        next(state.reconstruction.parameters()).fill_(float("nan"))
    with pytest.raises(
        TrainingDivergedError, match=r"IVIF: .* in epoch 1 \(meta step 1 of 2\); lower --schedule\.rate"
    ):
        next(training.epochs(state))


@pytest.mark.usefixtures("quick")
def test_too_high_a_rate_is_found_out(training: TaskTraining) -> None:
    wild = told(training, {"schedule": {"rate": 1e30, "epochs": 1, "meta_iterations": 0, "fusion_steps": 12}})
    with pytest.raises(TrainingDivergedError, match=r"fusion step \d+ of 12"):
        run(wild)


@pytest.mark.parametrize("kind", ["normalised", "adam"])
@pytest.mark.usefixtures("quick")
def test_a_training_that_was_stopped_goes_on_bit_by_bit(training: TaskTraining, kind: str, tmp_path: Path) -> None:
    # Three meta-iterations per epoch, two per outer step: the checkpoint falls into the middle of an accumulation.
    training = told(training, {"schedule": {"meta_iterations": 3}, "outer": {"kind": kind}})
    whole, reports = run(training)

    stopped = TrainingState(training.settings, "IVIF")
    first = next(training.epochs(stopped))
    save_checkpoint(tmp_path, stopped, training.settings, "IVIF", first.numbers)
    resumed = TrainingState(training.settings, "IVIF")
    load_checkpoint(tmp_path, resumed)
    (second,) = training.epochs(resumed)

    assert second.epoch == 2
    for name in LOSSES | SCHEDULE:
        assert second.numbers[name] == reports[1].numbers[name]
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    torch.testing.assert_close(resumed.progress(), whole.progress(), rtol=0, atol=0)


@pytest.mark.usefixtures("quick")
def test_a_finished_training_has_nothing_left_to_do(training: TaskTraining) -> None:
    state, _ = run(training)
    assert list(training.epochs(state)) == []


@pytest.mark.usefixtures("quick")
def test_more_epochs_go_on_where_it_ended(training: TaskTraining) -> None:
    state, _ = run(training)
    assert [report.epoch for report in told(training, {"schedule": {"epochs": 3}}).epochs(state)] == [3]


def test_losses_are_averaged_over_their_own_steps() -> None:
    losses = Losses()
    losses.add({"inner": torch.tensor(1.0), "outer": torch.tensor(4.0)})
    losses.add({"inner": torch.tensor(2.0)})
    assert losses.means() == {"loss/inner": 1.5, "loss/outer": 4.0}
    assert Losses().means() == {}


def test_results_of_a_captured_step_which_share_their_memory_are_averaged() -> None:
    losses, place = Losses(), torch.zeros(())
    for value in (1.0, 2.0, 6.0):
        place.fill_(value)
        losses.add({"fusion": place})
    assert losses.means() == {"loss/fusion": 3.0}


@pytest.mark.usefixtures("quick")
def test_scores_per_picture_of_the_module_and_of_the_average_come_with_the_report(training: TaskTraining) -> None:
    _, reports = run(training)
    for report in reports:
        assert report.scores["average"] == {"scene_0": {"EN": 6.0, "Qabf": 0.1}}
        assert report.scores["trained"]["scene_0"]["Qabf"] == report.numbers["Qabf"]
