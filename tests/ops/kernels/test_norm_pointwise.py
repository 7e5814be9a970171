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
