"""Tiles: every row is computed once, from the rows that it needs."""

from __future__ import annotations

import pytest
import torch

from refusion.ops.tiling import tiles_of


@pytest.mark.parametrize("halo", [0, 1, 2, None])
@pytest.mark.parametrize("pixels", [1, 16, 36, 50, 72, 1000])
@pytest.mark.parametrize("shape", [(3, 9, 4, 1), (1, 1, 1, 1), (4, 10, 4, 1), (2, 3, 30, 1)])
def test_every_row_is_computed_once_from_the_rows_it_needs(
    shape: tuple[int, ...], pixels: int, halo: int | None
) -> None:
    x = torch.arange(torch.Size(shape).numel()).view(shape)
    times = torch.zeros_like(x)
    for tile in tiles_of(x, pixels, halo):
        tile.target(times).add_(1)
        assert torch.equal(tile.source(x)[:, tile.inner], tile.target(x))
        above, below = tile.rows.start - tile.source_rows.start, tile.source_rows.stop - tile.rows.stop
        assert above == min(halo or 0, tile.rows.start)
        assert below == min(halo or 0, shape[1] - tile.rows.stop)
        if halo is None:
            assert tile.rows == slice(0, shape[1])
    assert (times == 1).all()


def test_tiles_are_of_equal_size() -> None:
    found = [tile.rows for tile in tiles_of(torch.empty(1, 9, 4, 1), 16, 1)]
    assert found == [slice(0, 3), slice(3, 6), slice(6, 9)]


def test_whole_images_where_several_fit() -> None:
    cut = tiles_of(torch.empty(5, 9, 4, 1), 80, 1)
    assert [tile.images for tile in cut] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert all(tile.rows == tile.source_rows == slice(0, 9) for tile in cut)
