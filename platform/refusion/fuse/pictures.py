"""Fusion of two pictures of one size: luminance by a module, stretch and colour by the published rules.

All of it goes through the pictures some rows at a time, so that of a large pair nothing is held in memory but the
sources as they were decoded, the fused luminance and the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from refusion.errors import UserError
from refusion.images.colour import (
    Rows,
    has_colour,
    luminance,
    recolour,
    restore_colour,
    row_slices,
    stretch_between,
    stretch_exact,
)
from refusion.images.pair_check import NEARLY_CONSTANT
from refusion.images.writing import Depth, to_depth
from refusion.networks.full_size import fuse_full_size, fuse_rows
from refusion.networks.tiled_inference import OnRows

# Wider than the network sees from a pixel, so that a flat pair shows no border.
_SURROUND = 32


def fuse_luminance(module: nn.Module, sources: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Fuses luminance (2, H, W) in [0, 1] to (H, W) in (0, 1) at full size, on the module's device.

    Raises:
        UserError: the result is not finite, or a large picture's maps find no room.
    """
    return _fused(module, _Planes(lambda rows: sources[:, rows], *sources.shape[1:]))[0]


def fuse_sources(module: nn.Module, sources: torch.Tensor) -> torch.Tensor:
    """Fuses (B, 2, H, W) in [0, 1] at full size; a nearly flat pair with a surround that keeps the border's mark out.

    Raises:
        UserError: the module gives images of another shape.

    >>> from refusion.networks import FusionModule
    >>> fuse_sources(FusionModule(width=8, blocks=1), torch.rand(1, 2, 15, 21)).shape
    torch.Size([1, 1, 15, 21])
    """
    if not all(nearly_flat(pair) for pair in sources.cpu().numpy()):
        return fuse_full_size(module, sources)
    surrounded = F.pad(sources, (_SURROUND,) * 4, mode="replicate")
    return fuse_full_size(module, surrounded)[..., _SURROUND:-_SURROUND, _SURROUND:-_SURROUND]


def fuse_pair(module: nn.Module, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Fuses two registered images as the published inference does (docs/method.md, "The published network").

    The steps: luminance of both, one forward pass at full size, min–max stretch to 0–255; chroma by the rule of
    ``tasks.Task``. A pair of which neither source spans more than 8 of 255 grey levels is not stretched, and stays
    within the sources' values.

    Args:
        module: maps (B,2,H,W) in [0, 1] to (B,1,H,W); its device does the work.
        a, b: (H, W) grey or (H, W, 3) RGB, 0–255, uint8 or float; of one size.

    Returns:
        uint8, (H, W) where neither has colour, else (H, W, 3).

    Raises:
        UserError: the sizes differ, or the fused image is not finite.

    Example:
        >>> import numpy as np
        >>> from refusion.networks import FusionModule
        >>> a, b = np.zeros((24, 32), np.uint8), np.full((24, 32, 3), 90, np.uint8)
        >>> fused = fuse_pair(FusionModule(width=8, blocks=1), a, b)
        >>> fused.shape, fused.dtype
        ((24, 32), dtype('uint8'))
    """
    fused: npt.NDArray[np.uint8] = fuse_to_depth(module, a, b, 8)  # type: ignore[assignment]
    return fused


def fuse_to_depth(
    module: nn.Module,
    a: Rows,
    b: Rows,
    depth: Depth,
    *,
    stretched: bool = True,
    grey: bool = False,
    progress: OnRows | None = None,
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Fuses as ``fuse_pair`` does, to whole numbers of 8 or 16 bits.

    Args:
        module, a, b, stretched, grey: as for ``fuse_exact``.
        depth: bits of each value.
        progress: is told the rows done and those in all, each counted once for every time that it is gone through.

    Raises:
        UserError: as ``fuse_exact``.
    """
    finish = partial(to_depth, depth=depth)
    return _fuse(module, a, b, finish, stretched=stretched, grey=grey, progress=progress)


def fuse_exact(
    module: nn.Module, a: Rows, b: Rows, *, stretched: bool = True, grey: bool = False
) -> npt.NDArray[np.float32]:
    """Fuses as ``fuse_pair`` does, to grey levels that are not rounded yet.

    Args:
        module: as for ``fuse_pair``.
        a, b: arrays as for ``fuse_pair``, or what gives such rows when it is sliced.
        stretched: False leaves the module's output as it is, times 255.
        grey: True leaves colour out.

    Returns:
        float32 around 0–255, (H, W) or (H, W, 3).

    Raises:
        UserError: the sizes differ, the module gives NaN or infinite values, or a large picture's maps find no room.
    """
    return _fuse(module, a, b, lambda levels: levels, stretched=stretched, grey=grey)


def as_picture(
    fused: npt.NDArray[np.float32], a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Returns fused luminance (H, W) in (0, 1) as the picture that is saved, and scored: stretched, with colour.

    Args:
        fused: the module's output.
        a, b: its sources as read, 0–255.
    """
    return restore_colour(_levels(fused, np.stack([luminance(a), luminance(b)]), stretched=True), a, b)


def nearly_flat(sources: npt.NDArray[np.float32]) -> bool:
    """Returns True where neither source, of (2, H, W) in [0, 1], spans more than 8 of 255 grey levels.

    >>> nearly_flat(np.zeros((2, 8, 8), np.float32)), nearly_flat(np.eye(8, dtype=np.float32)[None].repeat(2, 0))
    (True, False)
    """
    return all(float(source.max() - source.min()) * 255 <= NEARLY_CONSTANT for source in sources)


@dataclass(frozen=True)
class _Planes:
    """Luminance of two sources.

    Attributes:
        rows: gives (2, rows, width) float32 in [0, 1] for a slice of rows.
        height, width: in pixels.
    """

    rows: Callable[[slice], npt.NDArray[np.float32]]
    height: int
    width: int

    @staticmethod
    def of(a: Rows, b: Rows) -> _Planes:
        """Takes two pictures in grey levels."""
        return _Planes(lambda rows: np.stack([luminance(a[rows]), luminance(b[rows])]), *a.shape[:2])

    def surrounded(self, by: int) -> _Planes:
        """Returns them with so many pixels more on each side, which repeat the outermost."""

        def rows(wanted: slice) -> npt.NDArray[np.float32]:
            places = np.clip(np.arange(wanted.start, wanted.stop) - by, 0, self.height - 1)
            found = self.rows(slice(int(places[0]), int(places[-1]) + 1))
            return np.pad(found[:, places - places[0]], ((0, 0), (0, 0), (by, by)), mode="edge")

        return _Planes(rows, self.height + 2 * by, self.width + 2 * by)


@dataclass(frozen=True)
class _Extents:
    """Least and greatest value of each source, (2) each."""

    least: npt.NDArray[np.float32]
    greatest: npt.NDArray[np.float32]

    @staticmethod
    def of(planes: _Planes) -> _Extents:
        least, greatest = np.full(2, np.inf, np.float32), np.full(2, -np.inf, np.float32)
        for rows in row_slices((planes.height, planes.width)):
            found = planes.rows(rows)
            least, greatest = np.minimum(least, found.min(axis=(1, 2))), np.maximum(greatest, found.max(axis=(1, 2)))
        return _Extents(least, greatest)

    @property
    def nearly_flat(self) -> bool:
        return bool(((self.greatest - self.least).astype(float) * 255 <= NEARLY_CONSTANT).all())


def _fuse(
    module: nn.Module,
    a: Rows,
    b: Rows,
    finish: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    *,
    stretched: bool,
    grey: bool,
    progress: OnRows | None = None,
) -> npt.NDArray[Any]:
    """Fuses a pair; ``finish`` makes the result's rows of grey levels that are not rounded yet."""
    if a.shape[:2] != b.shape[:2]:
        raise UserError(f"the two sources must be of one size, but are {_size(a)} and {_size(b)} pixels")
    fused, extents = _fused(module, _Planes.of(a, b), progress)
    low, high = fused.min(), fused.max()
    coloured = [] if grey else [source for source in (a, b) if has_colour(source)]
    out = np.empty(0)
    for rows in row_slices(fused.shape):
        if extents.nearly_flat:
            levels = np.clip(fused[rows], extents.least.min(), extents.greatest.max()) * np.float32(255)
        else:
            levels = stretch_between(fused[rows], low, high) if stretched else fused[rows] * np.float32(255)
        done = finish(recolour(levels, [source[rows] for source in coloured]))
        if not rows.start:
            out = np.empty((fused.shape[0], *done.shape[1:]), done.dtype)
        out[rows] = done
    return out


def _fused(
    module: nn.Module, planes: _Planes, progress: OnRows | None = None
) -> tuple[npt.NDArray[np.float32], _Extents]:
    """Returns the fused luminance (H, W) in (0, 1), and the extents of its sources.

    A nearly flat pair is fused with a surround that keeps the border's mark out.
    """
    extents = _Extents.of(planes)
    around = _SURROUND if extents.nearly_flat else 0
    fed = planes.surrounded(around) if around else planes
    device = next(module.parameters()).device

    def read(top: int, bottom: int) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(fed.rows(slice(top, bottom))))[None].to(device)

    fused = np.empty((planes.height, planes.width), np.float32)
    for top, strip in fuse_rows(module, read, fed.height, fed.width, progress):
        values = strip[0, 0].cpu().numpy()
        first, last = max(top - around, 0), min(top - around + len(values), planes.height)
        if first < last:
            fused[first:last] = values[first + around - top : last + around - top, around : around + planes.width]
    # Least and greatest are NaN where any is.
    if not np.isfinite([fused.min(), fused.max()]).all():
        raise UserError("the module makes numbers of it that are not finite; take another checkpoint")
    return fused, extents


def _levels(
    fused: npt.NDArray[np.float32], sources: npt.NDArray[np.float32], stretched: bool
) -> npt.NDArray[np.float32]:
    """Returns the luminance in grey levels, stretched unless the pair is nearly flat: then within its values."""
    if nearly_flat(sources):
        return np.clip(fused, sources.min(), sources.max()) * np.float32(255)
    return stretch_exact(fused) if stretched else fused * np.float32(255)


def _size(image: Rows) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
