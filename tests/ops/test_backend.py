"""Wide maps in bfloat16: near the same results and derivatives, all of them float32; other types stay what they are."""

from __future__ import annotations

import pytest
import torch
from part_checks import cross_attention_inputs, feed_forward_inputs, self_attention_inputs

from refusion.ops.autodiff import with_change
from refusion.ops.backend import full, narrow, use_bfloat16
from refusion.ops.feed_forward import FeedForward
from refusion.ops.fused_op import ALL_ROWS, Part, run
from refusion.ops.sublayers import CrossAttention, SelfAttention

PARTS = {
    "feed forward": (FeedForward(), feed_forward_inputs),
    "self-attention": (SelfAttention(), self_attention_inputs),
    "cross-attention": (CrossAttention(), cross_attention_inputs),
}
# bfloat16 keeps 8 bits; a part rounds a few times.
NEAR = 0.03


@pytest.mark.usefixtures("bfloat16")
def test_only_single_precision_is_narrowed() -> None:
    assert narrow(torch.ones(2)).dtype == torch.bfloat16
    assert narrow(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert full(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert full(torch.ones(2, dtype=torch.float64)).dtype == torch.float64


def test_nothing_is_narrowed_unless_wanted() -> None:
    x = torch.ones(2)
    assert narrow(x) is x


def value_and_derivatives(part: Part[object], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The value, its slopes, its change, and the slopes of that by the way through forward mode."""
    torch.manual_seed(5)
    held = [tensor.detach().requires_grad_() for tensor in inputs]
    changes = [torch.randn_like(tensor) for tensor in held]
    value = run(part, held)
    slope = torch.randn_like(value)
    slopes = torch.autograd.grad(value, held, slope)
    with torch.no_grad():
        moved = with_change(lambda *given: run(part, given), inputs, changes)
    through = with_change(lambda *given: run(part, given), held, changes)
    return [value, *slopes, *moved, *torch.autograd.grad(through, held, [slope, slope])]


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_near_its_single_precision(name: str) -> None:
    torch.manual_seed(4)
    part, make = PARTS[name]
    inputs = [tensor.float() for tensor in make()]
    rounded = value_and_derivatives(part, inputs)
    use_bfloat16(False)
    exact = value_and_derivatives(part, inputs)
    assert all(one.dtype == torch.float32 for one in rounded)
    ones, others = (torch.cat([tensor.detach().flatten() for tensor in found]) for found in (rounded, exact))
    assert 1e-4 * others.norm() < (ones - others).norm() < NEAR * others.norm()


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", PARTS)
def test_its_steps_by_hand_give_what_it_gives_itself(name: str) -> None:
    torch.manual_seed(4)
    part, make = PARTS[name]
    inputs = [tensor.float() for tensor in make()]
    held = [tensor.clone().requires_grad_() for tensor in inputs]
    whole = part(held, ALL_ROWS)
    slope = torch.randn_like(whole)
    with torch.no_grad():
        found = part.backward(inputs, ALL_ROWS, part.make(inputs, ALL_ROWS), slope, [True] * len(inputs))
    for one, other in zip(found, torch.autograd.grad(whole, held, slope), strict=True):
        assert one is not None
        assert (one - other).norm() <= NEAR * other.norm() + 1e-6
