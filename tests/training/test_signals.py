from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from meta_checks import images, new_state
from torch import Tensor

from refusion.config.layers import check
from refusion.meta.functional import identity
from refusion.meta.signals import cosine, weight_signals
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.objectives import FusionLoss, reconstruction_loss
from refusion.runtime.distributed import Shard
from refusion.training import signals
from refusion.training.loop import TaskTraining
from refusion.training.signals import EpochSignals

ALONE = Shard()


def given(drawn: Tensor) -> tuple[Tensor, None]:
    """The images as a training draws them, without noise."""
    return drawn, None


def signals_of(shard: Shard = ALONE, iterations: int = 25, on_image: bool = True) -> EpochSignals:
    step = Step(FusionLoss(beta=0.5), reconstruction_loss, True, identity, 1, on_image)
    return EpochSignals(new_state(accumulate=50), step, shard, iterations, fusion_steps=1)


def test_norm_and_cosine_are_those_of_the_meta_gradients() -> None:
    found = signals_of(iterations=3)
    gradients = []
    for number in range(3):
        drawn = images(number, 2, 2)
        found.step.meta(found.state, drawn, None, 0.05, 1e-3)
        gradients.append(found.state.outer.latest.clone())
        found.after_meta_iteration(number + 1, partial(given, drawn), 0.05)
    means = found.sums.means()
    assert set(means) == {"signal/meta_gradient_norm", "signal/meta_gradient_cosine"}
    assert means["signal/meta_gradient_norm"] == pytest.approx(sum(float(g.norm()) for g in gradients) / 3)
    expected = (cosine(*gradients[:2]) + cosine(*gradients[1:])) / 2
    assert means["signal/meta_gradient_cosine"] == pytest.approx(float(expected))


@pytest.mark.parametrize(("iterations", "looks"), [(24, 0), (25, 1), (60, 2), (500, 4)])
def test_halves_are_looked_at_seldom(iterations: int, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = signals_of(iterations=iterations)
    asked: list[int] = []
    monkeypatch.setattr(found, "_halves", lambda *_: asked.append(1))
    for done in range(1, iterations + 1):
        found.after_meta_iteration(done, partial(given, images(0, 2, 2)), 0.05)
    assert len(asked) == looks


@pytest.mark.parametrize("on_image", [True, False])
def test_two_workers_see_the_halves_that_one_sees(on_image: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = images(3, 2, 4)
    whole = signals_of(on_image=on_image)._halves(drawn, None, 0.05)
    assert whole is not None
    brought: list[list[Tensor]] = []

    def bring(vector: Tensor) -> Tensor:
        brought[-1].append(vector)
        return vector

    monkeypatch.setattr(signals, "average_over_workers", bring)
    for rank in range(2):
        brought.append([])
        signals_of(Shard(rank, 2), on_image=on_image)._halves(drawn[:, 2 * rank : 2 * rank + 2], None, 0.05)
    for expected, *parts in zip(whole, *brought, strict=True):
        torch.testing.assert_close(sum(parts) / 2, expected, rtol=1e-9, atol=1e-14)


def test_a_batch_that_has_no_halves_is_left_alone() -> None:
    assert signals_of()._halves(images(0, 2, 1), None, 0.05) is None
    assert signals_of(Shard(0, 3))._halves(images(0, 2, 2), None, 0.05) is None


def test_weights_are_looked_at_where_they_are_learned() -> None:
    drawn = images(1, 1, 2)
    found = signals_of()
    found.before_fusion_update(1, partial(given, drawn))
    with torch.no_grad():
        expected = weight_signals(found.state.loss_proposal(drawn[0]), drawn[0])
    assert found.sums.means() == {f"signal/{name}": pytest.approx(float(value)) for name, value in expected.items()}
    fixed = signals_of(iterations=0)
    fixed.before_fusion_update(1, partial(given, drawn))
    assert fixed.sums.means() == {}


def numbers(**given: float) -> dict[str, float]:
    usual = {"meta_gradient_cosine": 0.3, "w_saturated": 0.1, "w_mean": 0.4, "v_saturated": 0.1, "v_mean": 0.5}
    return {f"signal/{name}": value for name, value in (usual | given).items()}


def warned(iterations: int, **given: float) -> dict[str, str]:
    return dict(signals_of(iterations=iterations).warnings(numbers(**given)))


def test_noise_and_collapse_are_said() -> None:
    assert warned(60) == {}
    noise = warned(60, meta_gradient_cosine=0.02, half_batch_cosine=-0.01)["noise"]
    assert "(cosine of successive ones and of a batch's halves: 0.02 and -0.01): raise images.batch or" in noise
    assert warned(60, meta_gradient_cosine=0.02, half_batch_cosine=0.4) == {}
    assert warned(5, meta_gradient_cosine=0.02) == {}
    collapse = warned(60, v_saturated=0.97, v_mean=0.03)
    assert list(collapse) == ["collapse of v"]
    assert "the gradient weights have collapsed: 97% of them" in collapse["collapse of v"]


@pytest.mark.usefixtures("quick")
def test_each_kind_of_warning_is_noted_once(training: TaskTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def warn(_: EpochSignals, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
        seen.append(found)
        yield "noise", "they do not agree"

    monkeypatch.setattr(EpochSignals, "warnings", warn)
    noted: list[str] = []
    told = replace(training, note=noted.append)
    list(told.epochs(TrainingState(told.settings, "IVIF")))
    assert noted == ["epoch 1: they do not agree"]
    assert len(seen) == 2 and all("loss/outer" in found for found in seen)


@pytest.mark.usefixtures("quick")
def test_signals_change_no_weight_and_fixed_ones_give_none(training: TaskTraining) -> None:
    def trained(looks: int, **schedule: Any) -> tuple[Tensor, dict[str, float]]:
        told = replace(training, settings=check([{"schedule": schedule | {"epochs": 1}}], training.settings))
        state = TrainingState(told.settings, "IVIF")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(signals, "_MOST_LOOKS", looks)
            (report,) = list(told.epochs(state))
        vector = torch.cat([p.detach().flatten() for module in state.modules().values() for p in module.parameters()])
        return vector, report.numbers

    with_looks, found = trained(4, meta_iterations=25, fusion_steps=1)
    without, _ = trained(0, meta_iterations=25, fusion_steps=1)
    assert torch.equal(with_looks, without)
    assert math.isfinite(found["signal/half_batch_cosine"])
    _, fixed = trained(4, meta_iterations=0)
    assert not any(name.startswith("signal/") for name in fixed)
