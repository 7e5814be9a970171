"""The forms that operations take on a GPU, run on the CPU, against their definitions."""

from __future__ import annotations

import sys

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, assert_near, leaves, random

from refusion.ops import convolutions
from refusion.ops.channel_attention import qkv_attention
from refusion.ops.convolutions import pointwise_conv, pointwise_conv_jvp, pointwise_conv_vjp
from refusion.ops.feed_forward import gated_feed_forward


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(8)
    for module in (convolutions, *(sys.modules[f"refusion.ops.{name}"] for name in ("geglu", "channel_attention"))):
        monkeypatch.setattr(module, "runs_on_gpu", lambda _: True)


@pytest.mark.parametrize("check", CHECKS)
def test_pointwise_convolution(check: Check) -> None:
    check(pointwise_conv, reference_ops.conv, random((2, 5, 4, 8), (6, 8, 1, 1)))


@pytest.mark.parametrize("cut", [slice(None), slice(1, 4)], ids=["all rows", "some rows"])
def test_vjp_and_jvp_of_a_pointwise_convolution(cut: slice) -> None:
    x, weight, dx, dweight = random((2, 5, 4, 8), (6, 8, 1, 1), (2, 5, 4, 8), (6, 8, 1, 1))
    x, dx = x[:, cut], dx[:, cut]
    held = leaves([x, weight])
    out = reference_ops.conv(*held)
    (grad,) = random(out.shape)
    grad_x, grad_weight = torch.autograd.grad(out, held, grad)
    assert_near(pointwise_conv_vjp(grad, x, weight), [grad_x, grad_weight])
    assert_near(pointwise_conv_vjp(grad, x, weight, False), [grad_x, None])
    expected = reference_ops.conv(dx, weight) + reference_ops.conv(x, dweight)
    assert_near([pointwise_conv_jvp(x, weight, dx, dweight)], [expected])


@pytest.mark.parametrize("check", CHECKS)
def test_feed_forward_network(check: Check) -> None:
    shapes = (2, 5, 4, 8), (12, 8, 1, 1), (12, 1, 3, 3), (8, 6, 1, 1)
    check(gated_feed_forward, reference_ops.gated_feed_forward, random(*shapes))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("streams", [1, 2])
def test_attention(check: Check, streams: int) -> None:
    shapes = [[(2, 5, 4, 24)] * streams, [(4, 1, 1)] * streams, [(6, 8)] * streams]
    check(
        lambda *inputs: torch.cat(qkv_attention(*inputs), dim=3),
        lambda *inputs: torch.cat(reference_ops.qkv_attention(*inputs), dim=3),
        random(*(shape for part in shapes for shape in part)),
    )
