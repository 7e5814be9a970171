"""Cuts maps, channels last, into tiles: some rows of some images, with the rows that they are computed from."""

from __future__ import annotations

from typing import NamedTuple

import torch

ALL_ROWS = slice(None)


class Tile(NamedTuple):
    """Rows of some images.

    Attributes:
        images: which images.
        rows: which rows are computed.
        source_rows: which rows they are computed from.
    """

    images: slice
    rows: slice
    source_rows: slice

    @property
    def inner(self) -> slice:
        """The computed rows' places among the source rows."""
        if self.rows == self.source_rows:
            return ALL_ROWS
        return slice(self.rows.start - self.source_rows.start, self.rows.stop - self.source_rows.start)

    def source(self, x: torch.Tensor) -> torch.Tensor:
        """View of the source rows of x (B, H, ...)."""
        return x[self.images, self.source_rows]

    def target(self, x: torch.Tensor) -> torch.Tensor:
        """View of the computed rows of x (B, H, ...)."""
        return x[self.images, self.rows]


WHOLE = Tile(ALL_ROWS, ALL_ROWS, ALL_ROWS)


def tiles_of(x: torch.Tensor, pixels: int, halo: int | None) -> list[Tile]:
    """Cuts (B, H, W, C) into tiles of about `pixels` pixels, of whole images where several fit.

    Args:
        halo: rows that a row needs on either side; None where it needs all of them.
    """
    batch, height, width, _ = x.shape
    images = max(1, pixels // max(1, height * width))
    rows = height if halo is None or images > 1 else min(height, max(4, pixels // width))
    # Tiles of equal size: a last one of a row or two would cost as much as a whole one.
    rows = -(-height // -(-height // rows))
    return [
        Tile(
            slice(first, min(first + images, batch)),
            slice(top, min(top + rows, height)),
            slice(max(top - (halo or 0), 0), min(top + rows + (halo or 0), height)),
        )
        for first in range(0, batch, images)
        for top in range(0, height, rows)
    ]


def pixels_at_once(on_cpu: bool) -> int:
    """Pixels of a tile: as many as a processor's cache holds with 128 channels, or as keep a GPU busy."""
    return 1 << 14 if on_cpu else 1 << 20
