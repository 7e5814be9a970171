"""Inputs of the fused operations, and checks that their hand-written steps give what their reference gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from derivative_checks import assert_near, leaves

from refusion.ops.autodiff import jvp
from refusion.ops.fused_op import FusedOp


def feed_forward_inputs(batch: int = 2, height: int = 5, with_norm: bool = True) -> list[torch.Tensor]:
    norm = ((6,), (6,)) if with_norm else ()
    return _scaled((batch, height, 4, 6), *norm, (16, 6, 1, 1), (16, 1, 3, 3), (6, 8, 1, 1))


def channel_attention_inputs(batch: int = 2, height: int = 5) -> list[torch.Tensor]:
    return _scaled((batch, height, 4, 6), (6,), (6,), (18, 6, 1, 1), (18, 1, 3, 3), (3, 1, 1), (6, 6))


def cross_attention_inputs(batch: int = 2, height: int = 5) -> list[torch.Tensor]:
    x, convolutions = (batch, height, 4, 6), ((18, 6, 1, 1), (18, 1, 3, 3))
    return _scaled(x, x, *convolutions, *convolutions, (3, 1, 1), (3, 1, 1), (6, 6), (6, 6))


def check_steps(op: FusedOp[Any], inputs: Sequence[torch.Tensor], rows: slice) -> None:
    """`save` and `value`, `vjp` and `jvp` against the reference and its derivatives."""
    held = leaves(inputs)
    whole = op.reference(held, rows)
    with torch.no_grad():
        assert_near([op.value(inputs, rows, op.save(inputs, rows))], [whole])
        grad = torch.randn_like(whole)
        found = op.vjp(inputs, rows, op.save(inputs, rows), grad, [True] * len(inputs))
        tangents = [torch.randn_like(tensor) for tensor in inputs]
        pair = op.jvp(inputs, tangents, rows)
    assert_near(found, torch.autograd.grad(whole, held, grad))
    assert_near(pair, jvp(lambda *given: op.reference(given, rows), list(inputs), tangents))


def check_needs_grad(op: FusedOp[Any], inputs: Sequence[torch.Tensor], without: int, rows: slice) -> None:
    """A parameter that needs no gradient gets none, and the others get theirs."""
    with torch.no_grad():
        grad = torch.randn_like(op.reference(inputs, rows))
        needs_grad = [position != without for position in range(len(inputs))]
        expected = list(op.vjp(inputs, rows, op.save(inputs, rows), grad, [True] * len(inputs)))
        found = op.vjp(inputs, rows, op.save(inputs, rows), grad, needs_grad)
    expected[without] = None
    assert_near(found, expected)


def _scaled(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Random tensors, small enough that attention does not pick one channel alone."""
    return [torch.randn(shape, dtype=torch.float64) * 0.6 for shape in shapes]
