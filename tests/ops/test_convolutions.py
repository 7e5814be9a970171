"""Both convolutions and their hand-written derivatives against PyTorch's on (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import plain_layers
import pytest
import torch
from derivative_checks import CHECKS, Check, assert_near, leaves, random

from refusion.ops.convolutions import (
    filter_maps,
    filter_maps_backward,
    mix,
    mix_backward,
    mix_change,
    to_channels_first,
    to_channels_last,
)

BOTH = pytest.mark.parametrize(
    ("convolve", "backward", "shape"),
    [(mix, mix_backward, (6, 8, 1, 1)), (filter_maps, filter_maps_backward, (8, 1, 3, 3))],
    ids=["mix", "filter"],
)
Convolve = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Backward = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(8)


@BOTH
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, convolve: Convolve, backward: Backward, shape: tuple[int, ...]) -> None:
    check(convolve, plain_layers.convolved, random((2, 5, 4, 8), shape))


@BOTH
@pytest.mark.parametrize("channels_first", [False, True], ids=["contiguous", "a view of channels first"])
def test_backward(convolve: Convolve, backward: Backward, shape: tuple[int, ...], channels_first: bool) -> None:
    x, weight = random((2, 5, 4, 8), shape)
    if channels_first:
        x = to_channels_last(to_channels_first(x).contiguous())
    held = leaves([x, weight])
    out = plain_layers.convolved(*held)
    (slope,) = random(out.shape)
    of_x, of_weight = torch.autograd.grad(out, held, slope)
    assert_near([convolve(x, weight)], [out])
    assert_near(backward(slope, x, weight), [of_x, of_weight])
    assert_near(backward(slope, x, weight, False), [of_x, None])


def test_change_of_a_mix() -> None:
    x, weight, dx, dweight = random((2, 5, 4, 8), (6, 8, 1, 1), (2, 5, 4, 8), (6, 8, 1, 1))
    expected = plain_layers.convolved(dx, weight) + plain_layers.convolved(x, dweight)
    assert_near([mix_change(x, weight, dx, dweight)], [expected])


def test_channels_last_and_back() -> None:
    (x,) = random((2, 3, 5, 4))
    assert to_channels_last(x).shape == (2, 5, 4, 3)
    assert to_channels_last(x)[1, 4, 2, 0] == x[1, 0, 4, 2]
    assert torch.equal(to_channels_first(to_channels_last(x)), x)
