"""The depthwise convolution with its gate as one kernel, against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import reference_ops
import torch

SHAPES = [(1, 1, 1, 2), (2, 5, 4, 12), (1, 6, 7, 70)]


def reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    gate, value = reference_ops.conv(x, weight).chunk(2, dim=3)
    return torch.nn.functional.gelu(gate) * value


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_gradients_and_tangent(load: Callable[[str], ModuleType], draw: Any, near: Any, shape: Any) -> None:
    kernels = load("gated_depthwise")
    half = (*shape[:3], shape[3] // 2)
    x, dx, grad, weight, dweight = draw(shape, shape, half, (shape[3], 1, 3, 3), (shape[3], 1, 3, 3))
    assert kernels.serves(x, weight)
    exact = [one.double() for one in (x, weight)]
    out, tangent = torch.func.jvp(reference, tuple(exact), (dx.double(), dweight.double()))
    held = [one.requires_grad_() for one in exact]
    grads = torch.autograd.grad(reference(*held), held, grad.double())

    near(kernels.value(x, weight), out)
    for found, expected in zip(kernels.jvp(x, weight, dx, dweight), (out, tangent), strict=True):
        near(found, expected)
    found = kernels.vjp(grad, x, weight, True)
    for mine, expected in zip(found, grads, strict=True):
        near(mine, expected)
    alone = kernels.vjp(grad, x, weight, False)
    assert torch.equal(alone[0], found[0])
    assert alone[1] is None


def test_others_are_left_to_pytorch(load: Callable[[str], ModuleType], draw: Any) -> None:
    kernels = load("gated_depthwise")
    x, weight, odd = draw((1, 4, 4, 6), (6, 1, 3, 3), (1, 4, 4, 5))
    assert not kernels.serves(x.double(), weight.double())
    assert not kernels.serves(x.bfloat16(), weight.bfloat16())
    assert not kernels.serves(odd, weight)
