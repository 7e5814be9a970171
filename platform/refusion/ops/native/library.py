"""Loads the compiled code, and hands tensors to it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from refusion.ops.native.build import shared_library

_FOLDER = Path(__file__).with_name("csrc")
# In this order; together they are one source.
_NAMES = ("simd.h", "row_ops.h", "layer_norm.h", "geglu.h", "separable_conv.h", "depthwise.cpp", "reductions.cpp")
SOURCES = tuple(_FOLDER / name for name in _NAMES)
LANES = 16


@cache
def compiled() -> ctypes.CDLL | str:
    """The library, or in one line the reason why there is none: tried once in a process; found on disk once built."""
    try:
        return shared_library(SOURCES)
    except OSError as error:
        return str(error)


def library() -> ctypes.CDLL:
    """Returns the library, which must be there."""
    found = compiled()
    assert isinstance(found, ctypes.CDLL), found
    return found


def pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    """Address of the tensor's first value."""
    return ctypes.c_void_p(tensor.data_ptr())


def pointers(tensors: Sequence[torch.Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Addresses of the tensors' first values, null for None."""
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def threads() -> ctypes.c_int64:
    """PyTorch's number of threads, which the compiled code uses too."""
    return ctypes.c_int64(torch.get_num_threads())
