"""What the tests of each part of a network ask of it: its hand-written steps give what it gives itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from derivative_checks import assert_near, leaves

from refusion.ops.autodiff import jvp
from refusion.ops.fused_op import Part


def feed_forward_inputs(batch: int = 2, height: int = 5, with_norm: bool = True) -> list[torch.Tensor]:
    norm = ((6,), (6,)) if with_norm else ()
    return _scaled((batch, height, 4, 6), *norm, (16, 6, 1, 1), (16, 1, 3, 3), (6, 8, 1, 1))


def self_attention_inputs(batch: int = 2, height: int = 5) -> list[torch.Tensor]:
    return _scaled((batch, height, 4, 6), (6,), (6,), (18, 6, 1, 1), (18, 1, 3, 3), (3, 1, 1), (6, 6))


def cross_attention_inputs(batch: int = 2, height: int = 5) -> list[torch.Tensor]:
    x, convolutions = (batch, height, 4, 6), ((18, 6, 1, 1), (18, 1, 3, 3))
    return _scaled(x, x, *convolutions, *convolutions, (3, 1, 1), (3, 1, 1), (6, 6), (6, 6))


def check_steps(part: Part[Any], inputs: Sequence[torch.Tensor], rows: slice) -> None:
    """`make` and `finish`, `backward` and `change` against the part itself and its derivatives."""
    held = leaves(inputs)
    whole = part(held, rows)
    with torch.no_grad():
        assert_near([part.finish(inputs, rows, part.make(inputs, rows))], [whole])
        slope = torch.randn_like(whole)
        found = part.backward(inputs, rows, part.make(inputs, rows), slope, [True] * len(inputs))
        changes = [torch.randn_like(tensor) for tensor in inputs]
        moved = part.change(inputs, changes, rows)
    assert_near(found, torch.autograd.grad(whole, held, slope))
    assert_near(moved, jvp(lambda *given: part(given, rows), list(inputs), changes))


def check_unwanted(part: Part[Any], inputs: Sequence[torch.Tensor], unwanted: int, rows: slice) -> None:
    """A parameter whose slope is not wanted gets none, and the others get theirs."""
    with torch.no_grad():
        slope = torch.randn_like(part(inputs, rows))
        wanted = [position != unwanted for position in range(len(inputs))]
        expected = list(part.backward(inputs, rows, part.make(inputs, rows), slope, [True] * len(inputs)))
        found = part.backward(inputs, rows, part.make(inputs, rows), slope, wanted)
    expected[unwanted] = None
    assert_near(found, expected)


def _scaled(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Random; small enough that attention does not pick one channel alone."""
    return [torch.randn(shape, dtype=torch.float64) * 0.6 for shape in shapes]
