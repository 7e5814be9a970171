"""The convolutions and their hand-written derivatives against PyTorch's on (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import reference_ops
import torch
import torch.nn.functional as F
from derivative_checks import CHECKS, Check, assert_near, leaves, random

from refusion.ops.convolutions import (
    conv3x3,
    depthwise_conv,
    depthwise_conv_vjp,
    pointwise_conv,
    pointwise_conv_jvp,
    pointwise_conv_vjp,
    to_channels_first,
    to_channels_last,
)

BOTH = pytest.mark.parametrize(
    ("convolve", "vjp", "shape"),
    [(pointwise_conv, pointwise_conv_vjp, (6, 8, 1, 1)), (depthwise_conv, depthwise_conv_vjp, (8, 1, 3, 3))],
    ids=["pointwise", "depthwise"],
)
Convolve = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Vjp = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(8)


@BOTH
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, convolve: Convolve, vjp: Vjp, shape: tuple[int, ...]) -> None:
    check(convolve, reference_ops.conv, random((2, 5, 4, 8), shape))


@BOTH
@pytest.mark.parametrize("channels_first", [False, True], ids=["contiguous", "a view of channels first"])
def test_vjp(convolve: Convolve, vjp: Vjp, shape: tuple[int, ...], channels_first: bool) -> None:
    x, weight = random((2, 5, 4, 8), shape)
    if channels_first:
        x = to_channels_last(to_channels_first(x).contiguous())
    held = leaves([x, weight])
    out = reference_ops.conv(*held)
    (grad,) = random(out.shape)
    grad_x, grad_weight = torch.autograd.grad(out, held, grad)
    assert_near([convolve(x, weight)], [out])
    assert_near(vjp(grad, x, weight), [grad_x, grad_weight])
    assert_near(vjp(grad, x, weight, False), [grad_x, None])


def test_jvp_of_a_pointwise_convolution() -> None:
    x, weight, dx, dweight = random((2, 5, 4, 8), (6, 8, 1, 1), (2, 5, 4, 8), (6, 8, 1, 1))
    expected = reference_ops.conv(dx, weight) + reference_ops.conv(x, dweight)
    assert_near([pointwise_conv_jvp(x, weight, dx, dweight)], [expected])


def test_a_full_convolution() -> None:
    x, weight = random((2, 5, 4, 8), (6, 8, 3, 3))
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    assert_near([conv3x3(x, weight)], [expected])


def test_channels_last_and_back() -> None:
    (x,) = random((2, 3, 5, 4))
    assert to_channels_last(x).shape == (2, 5, 4, 3)
    assert to_channels_last(x)[1, 4, 2, 0] == x[1, 0, 4, 2]
    assert torch.equal(to_channels_first(to_channels_last(x)), x)
