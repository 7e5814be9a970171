"""Precision of float32 products and convolutions on a GPU: exact, or TF32, which keeps 10 bits of 23.

PyTorch's own default is TF32 in convolutions and float32 in products: a picture that a GPU fuses then differs from the
CPU's by 6e-4 of its range.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch


class Float32(NamedTuple):
    """PyTorch's switches for this process: whether products and convolutions are TF32."""

    matmul: bool
    convolutions: bool


def float32_now() -> Float32:
    """Returns the switches as they are."""
    # The older of two interfaces: both PyTorch 2.11 and 2.13 read it without a warning, and refuse a mixture.
    return Float32(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


def set_float32(switches: Float32) -> None:
    """Sets the switches."""
    torch.backends.cuda.matmul.allow_tf32 = switches.matmul
    torch.backends.cudnn.allow_tf32 = switches.convolutions


@contextmanager
def float32_as(tf32: bool) -> Iterator[None]:
    """Sets both switches within a ``with`` statement.

    >>> with float32_as(tf32=False):
    ...     float32_now()
    Float32(matmul=False, convolutions=False)
    """
    before = float32_now()
    set_float32(Float32(tf32, tf32))
    try:
        yield
    finally:
        set_float32(before)
