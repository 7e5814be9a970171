"""The fusion module's forward pass for whole pictures: strip by strip, without a graph, in bounded memory.

Attention needs sums over all pixels, everything else a pixel's neighbours only. So a picture is gone through once for
each attention: a tile's maps are brought one layer further, handed on, and its share of the sums for the next layer is
added up. Of the whole picture only the narrow maps between two layers are held, 2 · width channels in all, in
memory or, where they are large, in a file (`tiled.row_maps`), each strip in the place of the one it was made of. The
mathematics is that of `FusionModule.forward`, with other sums first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

import refusion.ops as ops
from refusion.networks.blocks import Block
from refusion.networks.fusion import FusionModule
from refusion.networks.tiled.layers import (
    RINGS_OF_PROJECT_OUT,
    BlockPerStream,
    Crop,
    CrossFusion,
    Layer,
    project_in,
    project_out,
)
from refusion.networks.tiled.row_maps import row_map
from refusion.ops.backend import float32_as_configured

ReadRows = Callable[[int, int], torch.Tensor]
"""Returns rows of the sources from one up to another, (1, 2, rows, W) in [0, 1]."""

OnRows = Callable[[int, int], None]
"""Called with the rows done and those in all, counted once for each time that the picture is gone through."""


class Tiling(NamedTuple):
    """Sizes of what is in memory at once, in pixels.

    Attributes:
        strip: pixels of a strip, which goes from side to side.
        rows: rows of a strip at most.
        columns: columns of a tile at most.
    """

    strip: int
    rows: int
    columns: int


# Rows of a tile's wide maps fit into a core's cache.
_ON_CPU = Tiling(1 << 19, 128, 320)
_ON_GPU = Tiling(1 << 20, 1 << 20, 1 << 20)
_LEAST_ROWS = 8

_ReadMaps = Callable[[int, int], torch.Tensor]


class _Place(NamedTuple):
    """Rows and columns of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, by: int, height: int, width: int) -> _Place:
        """Returns it with as many pixels more on each side, where the picture has them."""
        return _Place(
            max(self.top - by, 0), min(self.bottom + by, height), max(self.left - by, 0), min(self.right + by, width)
        )

    def of(self, x: torch.Tensor, outer: _Place) -> torch.Tensor:
        """Returns its part of x (1, H, W, C), which is of ``outer``."""
        return x[:, self.top - outer.top : self.bottom - outer.top, self.left - outer.left : self.right - outer.left]


@torch.no_grad()
def fuse_tiled(module: FusionModule, sources: torch.Tensor, tiling: Tiling | None = None) -> torch.Tensor:
    """Result of `module(sources)`, to rounding, in less time and memory; nothing can be differentiated through it.

    It is computed in the parameters' type, whatever precision is configured.

    Args:
        module: on any device; the work is done there.
        sources: (B, 2, H, W) in [0, 1], a first, then b.
        tiling: None for one that suits the device.

    Returns:
        The fused images, (B, 1, H, W) in (0, 1).

    Raises:
        UserError: the disk has no room for the maps of a large picture.

    Example:
        >>> fuse_tiled(FusionModule(width=8, blocks=1), torch.rand(1, 2, 24, 32)).shape
        torch.Size([1, 1, 24, 32])
    """
    fused = sources.new_empty((sources.shape[0], 1, *sources.shape[2:]))
    for image, out in zip(sources.split(1), fused.split(1), strict=True):
        read = partial(_rows_of, image)
        for top, rows in fused_strips(module, read, sources.shape[2], sources.shape[3], tiling=tiling):
            out[:, :, top : top + rows.shape[2]] = rows
    return fused


@torch.no_grad()
def fused_strips(
    module: FusionModule,
    read: ReadRows,
    height: int,
    width: int,
    *,
    tiling: Tiling | None = None,
    progress: OnRows | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yields the fused picture (height, width) strip by strip, from above: its first row, and (1, 1, rows, width).

    Args:
        module: on any device; the work is done there.
        read: the sources, on the module's device; each row is read three times.
        height, width: of the picture.
        tiling: None for one that suits the device.
        progress: is told after each strip.

    Raises:
        UserError: the disk has no room for the maps of a large picture.
    """
    like = module.project_in_1.weight
    cut = tiling or (_ON_CPU if like.device.type == "cpu" else _ON_GPU)
    layers = _layers(module, like)
    last = len(layers)

    def tell(times: int, bottom: int) -> None:
        if progress is not None:
            progress(times * height + bottom, (last + 1) * height)

    with float32_as_configured(like), row_map(height, width, 2 * like.shape[0], like) as maps:
        for number, following in enumerate([*layers, None]):
            previous = layers[number - 1] if number else None
            # What the first convolutions make of the sources is computed again rather than held.
            from_sources = number < 2
            way = _Way(module, previous, following, from_sources)
            read_sources = partial(_channels_last, read)
            source = read_sources if from_sources else maps.read
            sources = _Window(read_sources)
            for top, bottom, found in way.strips(source, height, width, cut):
                if following is None:
                    around = _Place(top, bottom, 0, width).grown(module.rings_of_image, height, width)
                    yield top, _image(module, found, sources.moved(around.top, around.bottom), top - around.top)
                elif previous is not None:
                    maps.write(top, found)
                tell(number, bottom)
            if following is not None:
                following.conclude()


class _Way(NamedTuple):
    """One way through the picture: from one layer's input to its result, of which the next one's sums are taken.

    Attributes:
        previous: the layer that is computed; None at the first time.
        following: the layer whose sums are gathered; None at the last time, which ends with what the last convolutions
            find.
        from_sources: the input is the sources, not maps.
    """

    module: FusionModule
    previous: Layer | None
    following: Layer | None
    from_sources: bool

    @property
    def rings(self) -> int:
        """Pixels around a tile that its result and sums depend on."""
        computed = self.from_sources + (0 if self.previous is None else self.previous.rings)
        return computed + (RINGS_OF_PROJECT_OUT if self.following is None else self.following.rings_of_sums)

    def strips(self, read: _ReadMaps, height: int, width: int, cut: Tiling) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yields the first row of each strip, the one behind its last, and its result (1, rows, width, channels)."""
        window = _Window(read)
        for top, bottom in _parts(height, max(min(cut.rows, cut.strip // width), min(cut.rows, _LEAST_ROWS))):
            all_columns = _Place(top, bottom, 0, width).grown(self.rings, height, width)
            x = window.moved(all_columns.top, all_columns.bottom)
            found = []
            for left, right in _parts(width, cut.columns):
                tile = _Place(top, bottom, left, right)
                outer = tile.grown(self.rings, height, width)
                found.append(self._of_tile(outer.of(x, all_columns), partial(tile.of, outer=outer)))
            yield top, bottom, torch.cat(found, dim=2)

    def _of_tile(self, x: torch.Tensor, inner: Crop) -> torch.Tensor:
        if self.from_sources:
            streams = project_in(self.module, ops.to_channels_first(x))
        else:
            assert self.previous is not None
            streams = [stream.contiguous() for stream in x.chunk(self.previous.streams, dim=3)]
        if self.previous is not None:
            streams = self.previous.value(streams)
        if self.following is None:
            return inner(project_out(self.module, streams[0]))
        self.following.gather(streams, inner)
        return torch.cat([inner(stream) for stream in streams], dim=3)


class _Window:
    """Rows that move down a picture: those that overlap are kept, as they may have been written over since."""

    def __init__(self, read: _ReadMaps) -> None:
        self._read = read
        self._top, self._rows = 0, torch.empty(1, 0, 0, 0)

    def moved(self, top: int, bottom: int) -> torch.Tensor:
        """Returns the rows from ``top`` up to ``bottom``, neither of which may be less than before."""
        end = self._top + self._rows.shape[1]
        if end <= top:
            self._rows = self._read(top, bottom).clone()
        elif bottom > end:
            self._rows = torch.cat((self._rows[:, top - self._top :], self._read(end, bottom)), dim=1)
        else:
            self._rows = self._rows[:, top - self._top :]
        self._top = top
        return self._rows[:, : bottom - top]


def _image(module: FusionModule, found: torch.Tensor, around: torch.Tensor, first: int) -> torch.Tensor:
    """Makes the strip of what was found in it, and of the sources in and around it, of which it begins at ``first``."""
    rows = slice(first, first + found.shape[1])
    around = ops.to_channels_first(around)
    trust = module.trust(around)
    inner = None if trust is None else trust[:, :, rows]
    return module.image(ops.to_channels_first(found), around[:, :, rows], inner)


def _channels_last(read: ReadRows, top: int, bottom: int) -> torch.Tensor:
    return ops.to_channels_last(read(top, bottom))


def _rows_of(image: torch.Tensor, top: int, bottom: int) -> torch.Tensor:
    return image[:, :, top:bottom]


def _parts(length: int, most: int) -> Iterator[tuple[int, int]]:
    """Yields where equal parts begin and end."""
    each = -(-length // -(-length // most))
    for first in range(0, length, each):
        yield first, min(first + each, length)


def _layers(module: FusionModule, like: torch.Tensor) -> list[Layer]:
    encoders = zip(_blocks(module.encoder1), _blocks(module.encoder2), strict=True)
    decoder = [BlockPerStream([block], like) for block in _blocks(module.decoder)]
    return [*(BlockPerStream(both, like) for both in encoders), CrossFusion(module.FM, like), *decoder]


def _blocks(stage: nn.Sequential) -> list[Block]:
    blocks = list(stage)
    assert all(isinstance(block, Block) for block in blocks)
    return blocks  # type: ignore[return-value]
