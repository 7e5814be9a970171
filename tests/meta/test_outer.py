from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from refusion.config.settings import OuterSettings
from refusion.meta.outer import OuterOptimiser

SHAPES = ((3, 2), (4,))


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in SHAPES]


def gradients(seed: int, size: float = 1.0) -> list[torch.Tensor]:
    return [size * parameter.detach() for parameter in parameters(100 + seed)]


def copies(tensors: list[nn.Parameter]) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
def test_a_normalised_step_has_the_rate_as_its_largest_change(size: float) -> None:
    ours = parameters()
    before = copies(ours)
    OuterOptimiser(ours, OuterSettings(kind="normalised", accumulate=1)).add(gradients(0, size), rate=0.25)
    moved = torch.cat([(then - now).flatten() for then, now in zip(before, ours, strict=True)]).detach()
    along = torch.cat([gradient.flatten() for gradient in gradients(0)])
    torch.testing.assert_close(moved, 0.25 * along / along.abs().max(), rtol=1e-12, atol=1e-12)
    assert float(moved.abs().max()) == pytest.approx(0.25, rel=1e-12)


def test_a_step_is_made_of_as_many_meta_gradients_as_are_accumulated() -> None:
    ours = parameters()
    outer = OuterOptimiser(ours, OuterSettings(kind="normalised", accumulate=3))
    before = copies(ours)
    assert [outer.add(gradients(seed), 0.1) for seed in (0, 1)] == [False, False]
    assert all(torch.equal(then, now) for then, now in zip(before, ours, strict=True))
    assert outer.add(gradients(2), 0.1) is True

    expected = parameters()
    sums = [sum(parts, torch.zeros(())) for parts in zip(*(gradients(seed) for seed in range(3)), strict=True)]
    OuterOptimiser(expected, OuterSettings(kind="normalised", accumulate=1)).add(sums, 0.1)
    torch.testing.assert_close(ours, expected)


def test_sums_begin_anew_after_a_step() -> None:
    ours, fresh = parameters(), parameters()
    outer = OuterOptimiser(ours, OuterSettings(kind="normalised", accumulate=1))
    outer.add(gradients(0), 0.1)
    with torch.no_grad():
        for mine, theirs in zip(fresh, ours, strict=True):
            mine.copy_(theirs)
    outer.add(gradients(1), 0.1)
    OuterOptimiser(fresh, OuterSettings(kind="normalised", accumulate=1)).add(gradients(1), 0.1)
    torch.testing.assert_close(ours, fresh, rtol=0, atol=0)


def test_a_meta_gradient_of_zero_moves_nothing() -> None:
    ours = parameters()
    before = copies(ours)
    OuterOptimiser(ours, OuterSettings(kind="normalised", accumulate=1)).add([torch.zeros_like(p) for p in ours], 0.1)
    assert all(torch.equal(then, now) for then, now in zip(before, ours, strict=True))


def test_adam_is_torchs_adam_on_the_sums() -> None:
    ours, theirs = parameters(), parameters()
    outer = OuterOptimiser(ours, OuterSettings(kind="adam", accumulate=2, adam_eps=1e-12))
    adam = torch.optim.Adam(theirs, lr=1.0, eps=1e-12)
    for step, rate in enumerate((1e-3, 1e-3, 5e-4)):
        parts = gradients(2 * step, 1e-8), gradients(2 * step + 1, 1e-8)
        for part in parts:
            outer.add(part, rate)
        for parameter, first, second in zip(theirs, *parts, strict=True):
            parameter.grad = first + second
        adam.param_groups[0]["lr"] = rate
        adam.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in ours)


def test_a_small_eps_lets_adam_move_by_the_rate_where_gradients_are_tiny() -> None:
    ours = parameters()
    before = copies(ours)
    OuterOptimiser(ours, OuterSettings(kind="adam", accumulate=1)).add([torch.full_like(p, 1e-8) for p in ours], 1e-3)
    for then, now in zip(before, ours, strict=True):
        torch.testing.assert_close(then - now, torch.full_like(then, 1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", ["normalised", "adam"])
def test_an_interrupted_optimiser_goes_on_bit_by_bit(kind: Any, tmp_path: Any) -> None:
    settings = OuterSettings(kind=kind, accumulate=2)
    whole, part = parameters(), parameters()
    outer, first = OuterOptimiser(whole, settings), OuterOptimiser(part, settings)
    for seed in range(3):
        outer.add(gradients(seed), 0.01)
        first.add(gradients(seed), 0.01)
    # In the middle of an accumulation.
    torch.save(first.state_dict(), tmp_path / "outer.pt")
    second = OuterOptimiser(part, settings)
    second.load_state_dict(torch.load(tmp_path / "outer.pt", weights_only=True))
    for seed in range(3, 8):
        assert outer.add(gradients(seed), 0.01) == second.add(gradients(seed), 0.01)
    torch.testing.assert_close(whole, part, rtol=0, atol=0)


def test_a_saved_state_does_not_change_with_its_optimiser() -> None:
    outer = OuterOptimiser(parameters(), OuterSettings(kind="normalised", accumulate=4))
    outer.add(gradients(0), 0.1)
    saved = outer.state_dict()
    outer.add(gradients(1), 0.1)
    torch.testing.assert_close(saved["sums"], gradients(0), rtol=0, atol=0)
    assert saved["count"] == 1
