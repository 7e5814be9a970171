from __future__ import annotations

import cv2
import numpy as np
import torch

from refusion.objectives import FusionWeights
from refusion.training.pictures.contact_sheet import MOST_ROWS, SIDE, SheetRow, contact_sheet, sheet_row


def row(height: int = 60, width: int = 90, seed: int = 0) -> SheetRow:
    draw = np.random.default_rng(seed)
    a, b = (draw.integers(0, 256, (height, width)).astype(np.float32) for _ in "ab")
    fused = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    weights = torch.rand(1, 2, 30, 45, generator=torch.Generator().manual_seed(seed))
    return sheet_row(a, b, fused, FusionWeights(weights, weights.flip(1)))


def test_a_row_is_small_whatever_the_pictures_are() -> None:
    large = row(700, 900)
    every = [*large.pictures.values(), *large.insets.values(), *large.weights.values()]
    assert all(max(picture.shape[:2]) <= SIDE for picture in every)
    assert list(large.pictures) == list(large.insets) == ["a", "b", "fused"]
    assert list(large.weights) == ["intensity", "gradient"]


def test_the_insets_show_where_the_pictures_differ() -> None:
    a = np.full((60, 90), 100, np.float32)
    b, fused = a.copy(), a.astype(np.uint8)
    b[40:46, 70:76] = 200
    x, y, wide, tall = sheet_row(a, b, fused, FusionWeights(torch.full((1, 2, 60, 90), 0.5), None)).window
    assert x < 70 / 90 < x + wide
    assert y < 40 / 60 < y + tall


def test_the_sheet_has_a_row_per_pair_and_a_bound() -> None:
    one, six, twelve = (
        contact_sheet({f"pair $_{number}": row(seed=number) for number in range(count)}) for count in (1, MOST_ROWS, 12)
    )
    assert one.dtype == np.uint8 and one.shape[2] == 3
    assert one.shape[1] == six.shape[1] <= 1400
    assert one.shape[0] < six.shape[0] == twelve.shape[0] <= 1400
    assert len(cv2.imencode(".png", six)[1]) < 4 << 20


def test_rows_of_other_shapes_stand_in_one_sheet() -> None:
    assert contact_sheet({"tall": row(90, 60), "wide": row()}).shape[1] == contact_sheet({"one": row()}).shape[1]
