"""Reductions over pixels, and weighted sums of maps, as compiled code: what attention computes from q, k and v.

All maps are (B, P, C), P pixels of an image, and may be views into wider ones. Only where `library` is there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from refusion.ops.backend import runs_native
from refusion.ops.native.library import LANES, library, pointer, threads

Scaled = tuple[torch.Tensor, torch.Tensor | None]
"""A map (B, P, C), and factors of its channels, (B, C); None is one."""

Projected = tuple[torch.Tensor, torch.Tensor]
"""A map (B, P, C), and the matrix that takes its channels to those of the result, (B, C, outputs)."""


class _View(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("image_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
        ("channels", ctypes.c_int64),
    )


class _Term(ctypes.Structure):
    _fields_ = (("x", _View), ("factor", ctypes.c_void_p))


class _Pair(ctypes.Structure):
    _fields_ = (("x", _View), ("y", _View))


def serves(x: torch.Tensor) -> bool:
    """Tells whether the compiled code runs on maps of these channels, type and device."""
    return x.shape[-1] % LANES == 0 and runs_native(x)


def weighted_sum(out: torch.Tensor, scaled: Sequence[Scaled] = (), projected: Sequence[Projected] = ()) -> None:
    """Fills out (B, P, outputs) with the sum of the scaled and of the projected maps, in one pass over the pixels."""
    scales, projections = ([_neighbouring(x) for x, _ in terms] for terms in (scaled, projected))
    factors = [None if scale is None else scale.contiguous() for _, scale in scaled]
    matrices = [matrix.contiguous() for _, matrix in projected]
    library().weighted_sum(
        *_images_and_pixels(out),
        ctypes.byref(_view(out)),
        _terms(scales, factors),
        ctypes.c_int64(len(scaled)),
        _terms(projections, matrices),
        ctypes.c_int64(len(projected)),
        threads(),
    )


def gram(*pairs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Gram matrix of the channels of x (B, P, C) and of y (B, P, D), summed over pixels and pairs: (B, C, D)."""
    pairs = tuple((_neighbouring(one), _neighbouring(other)) for one, other in pairs)
    x, y = pairs[0]
    out = x.new_empty(x.shape[0], x.shape[2], y.shape[2])
    laid = (_Pair * len(pairs))(*(_Pair(_view(one), _view(other)) for one, other in pairs))
    library().gram(*_images_and_pixels(x), laid, ctypes.c_int64(len(pairs)), pointer(out), threads())
    return out


def channel_dots(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Dot product over the pixels of each channel of x (B, P, C) with the same channel of y: (B, C)."""
    x, y = _neighbouring(x), _neighbouring(y)
    out = x.new_empty(x.shape[0], x.shape[2])
    pair = _Pair(_view(x), _view(y))
    library().channel_dots(*_images_and_pixels(x), ctypes.byref(pair), pointer(out), threads())
    return out


def _images_and_pixels(x: torch.Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1])


def _terms(maps: Sequence[torch.Tensor], factors: Sequence[torch.Tensor | None]) -> ctypes.Array[_Term]:
    return (_Term * len(maps))(
        *(
            _Term(_view(x), None if factor is None else factor.data_ptr())
            for x, factor in zip(maps, factors, strict=True)
        )
    )


def _view(x: torch.Tensor) -> _View:
    assert x.stride(2) == 1, "a pixel's channels must lie side by side"
    return _View(x.data_ptr(), x.stride(0), x.stride(1), x.shape[2])


def _neighbouring(x: torch.Tensor) -> torch.Tensor:
    """The map with a pixel's channels side by side: a copy unless they are already."""
    return x if x.stride(2) == 1 else x.contiguous()
