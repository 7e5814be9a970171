"""Attention by compiled code: value and derivatives are those of the definition, for one stream and for several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, Function
from native_checks import check_native

from refusion.ops.fused_op import FusedOp
from refusion.ops.native.attention import StreamsAttention
from refusion.ops.sublayers import ChannelAttention, CrossAttention

pytestmark = pytest.mark.usefixtures("native")
COUNT = pytest.mark.parametrize("count", [1, 2, 3])

RELATIVE = 5e-6
X, CONVOLUTIONS, HEADS, PROJECTION = (2, 5, 4, 16), ((48, 16, 1, 1), (48, 1, 3, 3)), (8, 1, 1), (16, 16)


def inputs(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    torch.manual_seed(9)
    return [torch.randn(shape, dtype=torch.float64) * 0.4 for shape in shapes]


def of_one() -> list[torch.Tensor]:
    return inputs(X, (16,), (16,), *CONVOLUTIONS, HEADS, PROJECTION)


def of_two() -> list[torch.Tensor]:
    return inputs(X, X, *CONVOLUTIONS, *CONVOLUTIONS, HEADS, HEADS, PROJECTION, PROJECTION)


OPS: dict[str, tuple[FusedOp[Any], Function, Callable[[], list[torch.Tensor]]]] = {
    "attention": (ChannelAttention(), reference_ops.channel_attention, of_one),
    "cross-attention": (CrossAttention(), reference_ops.cross_attention, of_two),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, reference, inputs_of = OPS[name]
    check_native(monkeypatch, check, op, reference, inputs_of())


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("check", CHECKS)
def test_gradients_in_maps_alone(check: Check, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, reference, inputs_of = OPS[name]
    given = inputs_of()
    maps = [tensor.requires_grad_() for tensor in given[: op.maps]]
    check_native(monkeypatch, check, op, reference, [*maps, *given[op.maps :]])


def streams(count: int) -> list[torch.Tensor]:
    """The streams' residuals, then their q, k and v, their temperatures and projections; double precision."""
    torch.manual_seed(8)
    maps = (2, 5, 7)
    shapes = [(*maps, 16), (*maps, 3 * 16), HEADS, (16, 16)]
    return [torch.randn(shape, dtype=torch.float64) * 0.5 for shape in shapes for _ in range(count)]


def definition(*given: torch.Tensor) -> torch.Tensor:
    count = len(given) // 4
    return torch.cat(given[:count], dim=3) + torch.cat(reference_ops.qkv_attention(*given[count:]), dim=3)


def single(given: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Residuals, maps and parameters in single precision."""
    count = len(given) // 4
    narrow = [tensor.detach().float() for tensor in given]
    return narrow[:count], narrow[count : 2 * count], narrow[2 * count :]


def assert_near(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= RELATIVE * other.norm()


@COUNT
def test_value_and_vjp_of_streams(count: int) -> None:
    given = [tensor.requires_grad_() for tensor in streams(count)]
    expected = definition(*given)
    x, maps, parameters = single(given)
    attention = StreamsAttention.of(maps, parameters)
    assert_near([attention.value(x)], [expected])
    grad = torch.randn_like(expected)
    grad_qkv, grad_parameters = attention.vjp(grad.float())
    assert_near([*grad_qkv, *grad_parameters], torch.autograd.grad(expected, given[count:], grad))


@COUNT
def test_jvp_and_its_vjp_of_streams(count: int) -> None:
    given = [tensor.requires_grad_() for tensor in streams(count)]
    tangents = [torch.randn_like(tensor).requires_grad_() for tensor in given]
    expected = torch.autograd.functional.jvp(definition, tuple(given), tuple(tangents), create_graph=True)
    (x, maps, parameters), (dx, dqkv, parameters_tangent) = single(given), single(tangents)
    attention = StreamsAttention.of(maps, parameters)
    tangent = attention.tangent(dqkv, parameters_tangent)
    assert_near(attention.jvp(tangent, x, dx), expected)
    grads = [torch.randn_like(one) for one in expected]
    grad_qkv, grad_dqkv, grad_parameters = attention.vjp_of_jvp(tangent, *(one.float() for one in grads))
    inputs = [*given[count : 2 * count], *tangents[count : 2 * count], *given[2 * count :]]
    assert_near([*grad_qkv, *grad_dqkv, *grad_parameters], torch.autograd.grad(expected, inputs, grads))
