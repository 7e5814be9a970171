"""Compiled code for what attention does with its maps: sums over pixels, and maps put together with small factors.

All maps are (B, P, C), P pixels of an image, and may be views into wider ones. Only where `library` is there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from refusion.ops.backend import runs_native
from refusion.ops.native.library import LANES, library, pointer, threads

Scaled = tuple[torch.Tensor, torch.Tensor | None]
"""A map (B, P, C), and what its channels are multiplied by, (B, C); None is one."""

Mixed = tuple[torch.Tensor, torch.Tensor]
"""A map (B, P, C), and the matrix by which its channels become those of the result, (B, C, outputs)."""


class _View(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_void_p),
        ("image_apart", ctypes.c_int64),
        ("pixel_apart", ctypes.c_int64),
        ("channels", ctypes.c_int64),
    )


class _Term(ctypes.Structure):
    _fields_ = (("x", _View), ("factor", ctypes.c_void_p))


class _Pair(ctypes.Structure):
    _fields_ = (("x", _View), ("y", _View))


def can_blend(x: torch.Tensor) -> bool:
    """Whether the compiled code is there, and takes maps of these channels, type and device."""
    return x.shape[-1] % LANES == 0 and runs_native(x)


def blend(out: torch.Tensor, scaled: Sequence[Scaled] = (), mixed: Sequence[Mixed] = ()) -> None:
    """Fill out (B, P, outputs) with the sum of the scaled and of the mixed maps, in one pass over the pixels."""
    scales, mixes = ([_near(x) for x, _ in terms] for terms in (scaled, mixed))
    factors = [None if scale is None else scale.contiguous() for _, scale in scaled]
    matrices = [matrix.contiguous() for _, matrix in mixed]
    library().blend(
        *_images_and_pixels(out),
        ctypes.byref(_view(out)),
        _terms(scales, factors),
        ctypes.c_int64(len(scaled)),
        _terms(mixes, matrices),
        ctypes.c_int64(len(mixed)),
        threads(),
    )


def products(*pairs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """All channels of x, (B, P, C), times all of y, (B, P, D), summed over pixels and pairs: (B, C, D)."""
    pairs = tuple((_near(one), _near(other)) for one, other in pairs)
    x, y = pairs[0]
    out = x.new_empty(x.shape[0], x.shape[2], y.shape[2])
    laid = (_Pair * len(pairs))(*(_Pair(_view(one), _view(other)) for one, other in pairs))
    library().products(*_images_and_pixels(x), laid, ctypes.c_int64(len(pairs)), pointer(out), threads())
    return out


def dots(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Each channel of x, (B, P, C), times the same channel of y, summed over the pixels: (B, C)."""
    x, y = _near(x), _near(y)
    out = x.new_empty(x.shape[0], x.shape[2])
    pair = _Pair(_view(x), _view(y))
    library().dots(*_images_and_pixels(x), ctypes.byref(pair), pointer(out), threads())
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
    assert x.stride(2) == 1, "a pixel's channels are neighbours"
    return _View(x.data_ptr(), x.stride(0), x.stride(1), x.shape[2])


def _near(x: torch.Tensor) -> torch.Tensor:
    """With a pixel's channels as neighbours: a copy unless they are already."""
    return x if x.stride(2) == 1 else x.contiguous()
