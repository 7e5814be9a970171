"""Sums of channel attention and its weighted sum as kernels, against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.mark.parametrize(("batch", "pixels", "channels"), [(1, 5, 16), (2, 200, 24), (1, 66, 32)])
def test_sums_and_weighted_sum(
    load: Callable[[str], ModuleType], draw: Any, near: Any, batch: int, pixels: int, channels: int
) -> None:
    kernels = load("attention_sums")
    qkv, matrix, residual = draw((batch, pixels, 3 * channels), (batch, channels, channels), (batch, pixels, channels))
    q, k, v = qkv.chunk(3, dim=2)
    assert kernels.serves(q, k, v)
    exact_q, exact_k, exact_v = (one.double() for one in (q, k, v))
    expected = exact_q.transpose(1, 2) @ exact_k, exact_q.square().sum(dim=1), exact_k.square().sum(dim=1)
    for found, exact in zip(kernels.sums(q, k), expected, strict=True):
        near(found, exact)
    product = exact_v @ matrix.double().transpose(1, 2)
    near(kernels.weighted_sum(v, matrix), product)
    near(kernels.weighted_sum(v, matrix, residual), product + residual.double())
    assert not kernels.serves(q.transpose(1, 2))
    assert not kernels.serves(q.double())
