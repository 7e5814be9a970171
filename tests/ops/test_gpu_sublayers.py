"""Sublayers as large kernels, run by Triton's interpreter, against the same operations in float64: all derivatives."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from refusion.ops.autodiff import jvp
from refusion.ops.backend import configure
from refusion.ops.feed_forward import GatedFeedForward
from refusion.ops.fused_op import FusedOp, run
from refusion.ops.sublayers import ChannelAttention

# The least widths that the kernels serve.
OPS: dict[str, tuple[FusedOp[Any], list[tuple[int, ...]]]] = {
    "feed forward": (GatedFeedForward(), [(1, 5, 4, 16), (16,), (16,), (24, 16, 1, 1), (24, 1, 3, 3), (16, 12, 1, 1)]),
    "without a norm": (GatedFeedForward(), [(1, 5, 4, 16), (24, 16, 1, 1), (24, 1, 3, 3), (16, 12, 1, 1)]),
    "attention": (
        ChannelAttention(),
        [(2, 5, 4, 16), (16,), (16,), (48, 16, 1, 1), (48, 1, 3, 3), (4, 1, 1), (16, 16)],
    ),
}


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Sublayers on the CPU run as kernels; gives the names of those that were asked."""
    if torch.cuda.is_available():
        pytest.skip("compiled for the GPU")
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1")
    pytest.importorskip("triton")
    asked: list[str] = []

    def fuses(x: torch.Tensor) -> bool:
        asked.append(str(x.dtype))
        return x.dtype == torch.float32

    for name in ("gpu_sublayers", "channel_attention"):
        monkeypatch.setattr(sys.modules[f"refusion.ops.{name}"], "fuses_on_gpu", fuses)
    with configure(compile=False):
        yield asked


def near(found: torch.Tensor, exact: torch.Tensor) -> None:
    assert float((found.double() - exact).abs().max()) <= 2e-5 * float(exact.abs().max()) + 1e-12


@pytest.mark.parametrize("name", OPS)
def test_value_gradients_tangent_and_gradient_of_the_tangent(name: str, fused: list[str]) -> None:
    op, shapes = OPS[name]
    torch.manual_seed(4)
    exact = [torch.randn(shape, dtype=torch.float64) * 0.6 for shape in shapes]
    inputs = [one.float() for one in exact]
    assert op.gpu is not None and op.gpu.serves(inputs)
    assert not op.gpu.serves(exact)
    directions = [torch.randn_like(one) for one in exact]
    grad = torch.randn_like(run(op, exact))

    def found(given: list[torch.Tensor], along: list[torch.Tensor]) -> list[torch.Tensor]:
        held = [one.detach().requires_grad_() for one in given]
        out = run(op, held)
        grads = torch.autograd.grad(out, held, grad.to(out.dtype))
        primals = [one.detach().requires_grad_() for one in given]
        value, tangent = jvp(lambda *all_: run(op, all_), primals, along)
        of_tangent = torch.autograd.grad(tangent, primals, grad.to(out.dtype))
        return [out.detach(), *grads, value.detach(), tangent.detach(), *of_tangent]

    for mine, theirs in zip(found(inputs, [one.float() for one in directions]), found(exact, directions), strict=True):
        near(mine, theirs)
    assert "torch.float32" in fused
