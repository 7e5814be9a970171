"""The Triton LayerNorm against PyTorch's: on a GPU, or by Triton's interpreter on a CPU."""

from __future__ import annotations

import os
from types import ModuleType

import pytest
import torch

from refusion.ops.layer_norm import EPS


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
    pytest.importorskip("triton")
    import refusion.ops.kernels.layer_norm as module

    torch.manual_seed(7)
    return module


@pytest.mark.parametrize("shape", [(1, 1, 1, 16), (2, 9, 7, 16), (3, 21, 33, 32), (1, 5, 4, 24)], ids=str)
@pytest.mark.parametrize("weighted", [True, False])
def test_value_and_gradients(kernels: ModuleType, shape: tuple[int, ...], weighted: bool) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    channels = shape[-1]
    x = (3 * torch.randn(shape) + 2).to(device)
    weight, bias = (torch.randn(channels).to(device) for _ in range(2))
    grad = torch.randn(shape).to(device)
    leaves = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    given = leaves[1] if weighted else torch.ones_like(leaves[1])
    expected = torch.nn.functional.layer_norm(leaves[0], (channels,), given, leaves[2], EPS)
    of_x, of_bias = torch.autograd.grad(expected, [leaves[0], leaves[2]], grad.double(), retain_graph=True)

    out, mean, rstd = kernels.value(x, weight if weighted else torch.ones_like(weight), bias, EPS)
    assert mean.shape == rstd.shape == (*shape[:-1], 1)
    torch.testing.assert_close(out.double(), expected.detach(), rtol=1e-5, atol=2e-6)
    found = kernels.vjp(grad, x, weight if weighted else None, mean, rstd, True)
    torch.testing.assert_close(found[0].double(), of_x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2].double(), of_bias, rtol=1e-4, atol=1e-4)
    if weighted:
        (of_weight,) = torch.autograd.grad(expected, leaves[1], grad.double())
        torch.testing.assert_close(found[1].double(), of_weight, rtol=1e-4, atol=1e-4)
    alone = kernels.vjp(grad, x, weight if weighted else None, mean, rstd, False)
    assert torch.equal(alone[0], found[0])
    assert alone[1:] == (None, None)
