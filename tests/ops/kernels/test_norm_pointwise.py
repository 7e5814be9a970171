"""LayerNorm with the pointwise convolution behind it as one kernel, against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from refusion.ops.layer_norm import EPS


@pytest.mark.parametrize(("shape", "outputs"), [((1, 1, 1, 16), 48), ((2, 9, 7, 24), 20), ((1, 13, 11, 32), 70)])
def test_value_and_gradients(
    load: Callable[[str], ModuleType], draw: Any, near: Any, shape: tuple[int, ...], outputs: int
) -> None:
    kernels = load("norm_pointwise")
    channels = shape[3]
    x, weight, bias, pointwise, grad = draw(
        shape, (channels,), (channels,), (outputs, channels, 1, 1), (*shape[:3], outputs)
    )
    x = 3 * x + 2
    assert kernels.serves(x, pointwise)
    held = [one.double().requires_grad_() for one in (x, weight, bias, pointwise)]
    normed = torch.nn.functional.layer_norm(held[0], (channels,), held[1], held[2], EPS)
    expected = normed @ held[3].flatten(1).T
    grads = torch.autograd.grad(expected, held, grad.double())

    out, mean, rstd = kernels.value(x, weight, bias, pointwise, EPS)
    near(out, expected.detach())
    near(mean, x.double().mean(dim=3, keepdim=True))
    assert rstd.shape == mean.shape
    found = kernels.vjp(grad, x, weight, bias, pointwise, mean, rstd)
    for mine, exact in zip(found, grads, strict=True):
        near(mine, exact)
    again = kernels.vjp(grad, x, weight, bias, pointwise, mean, rstd)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


@pytest.mark.parametrize(("shape", "outputs"), [((1, 1, 1, 16), 48), ((2, 9, 7, 24), 20), ((1, 13, 11, 32), 70)])
def test_tangent(load: Callable[[str], ModuleType], draw: Any, near: Any, shape: tuple[int, ...], outputs: int) -> None:
    kernels = load("norm_pointwise")
    channels = shape[3]
    shapes = shape, (channels,), (channels,), (outputs, channels, 1, 1)
    inputs, tangents = draw(*shapes), draw(*shapes)
    inputs[0] = 3 * inputs[0] + 2

    def exact(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pointwise: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, (channels,), weight, bias, EPS) @ pointwise.flatten(1).T

    wide = tuple(one.double() for one in inputs), tuple(one.double() for one in tangents)
    for found, expected in zip(kernels.jvp(inputs, tangents, EPS), torch.func.jvp(exact, *wide), strict=True):
        near(found, expected)
    # Each tangent alone: one that is left out would not show among the larger ones.
    for place, tangent in enumerate(tangents):
        alone = [tangent if other == place else torch.zeros_like(one) for other, one in enumerate(tangents)]
        near(
            kernels.jvp(inputs, alone, EPS)[1],
            torch.func.jvp(exact, wide[0], tuple(one.double() for one in alone))[1],
        )
