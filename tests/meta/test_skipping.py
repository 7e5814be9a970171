"""Steps that are not finite change nothing, on a host and as a graph would take them; others stay what they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.meta.adam import rated_adam, set_rate
from refusion.meta.skipping import SKIPPED, finite_on_all, marked, step_if, step_on_device
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.objectives import fusion_loss, reconstruction_loss

STEPS = [step_if, step_on_device]


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (5,))]


def take(adam: torch.optim.Adam, number: int, how: Any, finite: bool = True) -> None:
    generator = torch.Generator().manual_seed(number)
    for parameter in adam.param_groups[0]["params"]:
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = gradient if finite else torch.zeros_like(gradient)
    set_rate(adam, 0.1)
    if how is None:
        adam.step()
    else:
        how(torch.tensor(finite), adam)


def all_of(adam: torch.optim.Adam) -> list[torch.Tensor]:
    given = adam.param_groups[0]["params"]
    return [*given, *(value for parameter in given for value in adam.state[parameter].values())]


@pytest.mark.parametrize("how", STEPS)
def test_steps_that_are_taken_are_those_of_adam_to_the_bit(how: Any) -> None:
    ours, plain = rated_adam(parameters()), rated_adam(parameters())
    for number in range(4):
        take(ours, number, how)
        take(plain, number, None)
    assert all(torch.equal(mine, other) for mine, other in zip(all_of(ours), all_of(plain), strict=True))


@pytest.mark.parametrize("how", STEPS)
@pytest.mark.parametrize("left_out", [0, 2])
def test_a_step_that_is_left_out_leaves_parameters_moments_and_count(how: Any, left_out: int) -> None:
    ours, plain = rated_adam(parameters()), rated_adam(parameters())
    for number in range(4):
        take(ours, number, how, finite=number != left_out)
        if number != left_out:
            take(plain, number, None)
    assert all(torch.equal(mine, other) for mine, other in zip(all_of(ours), all_of(plain), strict=True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_loss_that_is_not_finite_marks_the_gradient(bad: float) -> None:
    flat = torch.arange(3.0)
    assert torch.equal(marked(flat.clone(), [torch.tensor(1.0), torch.tensor(2.0)]), flat)
    assert not torch.isfinite(marked(flat.clone(), [torch.tensor(1.0), torch.tensor(bad)])).all()
    one = torch.ones(2)
    assert finite_on_all([one], [one[0]], lambda flag: flag)
    assert not finite_on_all([one], [torch.tensor(bad)], lambda flag: flag)
    assert not finite_on_all([torch.tensor([1.0, bad])], [one[0]], lambda flag: flag)
    # Another worker's.
    assert not finite_on_all([one], [one[0]], lambda flag: flag + 0.25)


def everything(state: TrainingState) -> dict[str, Any]:
    weights = {name: module.state_dict() for name, module in state.modules().items()}
    return weights | {"fusion_adam": state.fusion_adam.state_dict()["state"], "outer": state.outer.state_dict()}


@pytest.mark.parametrize("space", ["image", "parameters"])
@pytest.mark.parametrize("kind", ["adam", "normalised"])
def test_pictures_that_make_a_step_nan_change_nothing_and_the_next_step_is_as_if_they_had_not_been(
    space: str, kind: str
) -> None:
    settings = check(
        [
            {
                "meta": {"space": space},
                "outer": {"kind": kind, "ratio": 0.5},
                "network": {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1},
                "images": {"crop": 16},
            }
        ],
        Settings(),
    )
    step = Step(fusion_loss, reconstruction_loss, False, lambda flat: flat, 1, space == "image")
    images = torch.rand(2, 1, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    broken = images.clone()
    broken[0, 0, 0, 3, 3] = torch.nan
    ours, plain = TrainingState(settings, "IVIF"), TrainingState(settings, "IVIF")
    results = []
    for state, with_broken in ((ours, True), (plain, False)):
        assert step.meta(state, images, None, 1e-3, 1e-3)[SKIPPED] == 0
        assert step.fusion(state, images[:1], None, 1e-3)[SKIPPED] == 0
        if with_broken:
            found = step.meta(state, broken, None, 1e-3, 1e-3) | step.fusion(state, broken[:1], None, 1e-3)
            assert found.pop(SKIPPED) == 1
            assert all(torch.isnan(value) for value in found.values())
        step.meta(state, images, None, 1e-3, 1e-3)
        results.append(step.fusion(state, images[:1], None, 1e-3))
    torch.testing.assert_close(everything(ours), everything(plain), rtol=0, atol=0)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert ours.is_finite()


def test_a_meta_gradient_that_is_not_finite_adds_nothing_to_those_that_are() -> None:
    settings = check([{"outer": {"accumulate": 2}, "network": {"blocks": 1}}], Settings())
    ours, plain = TrainingState(settings, "IVIF").outer, TrainingState(settings, "IVIF").outer
    gradients = [torch.randn_like(parameter) for parameter in ours.parameters]
    lost = [torch.full_like(gradient, torch.nan) for gradient in gradients]
    nothing = [torch.zeros_like(gradient) for gradient in gradients]
    assert not ours.add(lost, 0.1, torch.tensor(False)) and not plain.add(nothing, 0.1)
    assert ours.add(gradients, 0.1, torch.tensor(True)) and plain.add(gradients, 0.1)
    assert all(torch.equal(mine, other) for mine, other in zip(ours.parameters, plain.parameters, strict=True))
    before = [parameter.clone() for parameter in ours.parameters]
    assert not ours.add(lost, 0.1, torch.tensor(False)) and ours.add(lost, 0.1, torch.tensor(False))
    assert all(torch.equal(mine, other) for mine, other in zip(ours.parameters, before, strict=True))
