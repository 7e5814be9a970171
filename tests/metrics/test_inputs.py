from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from refusion.errors import UserError
from refusion.images.colour import luminance
from refusion.metrics.inputs import as_batches, as_saved, as_sources

GREY = np.zeros((8, 9), np.uint8)


def test_the_fused_image_is_rounded_and_clipped_as_a_file_would_hold_it() -> None:
    saved = as_saved(torch.tensor([0.4, 0.6, 254.6, 300.0, -3.0]))
    assert saved.dtype == torch.float64
    assert saved.tolist() == [0, 1, 255, 255, 0]


def test_what_is_not_finite_shows_as_nan() -> None:
    assert as_saved(torch.tensor([torch.inf, -torch.inf, torch.nan])).isnan().all()


def test_sources_are_not_rounded() -> None:
    a = torch.full((1, 4, 4), 7.3, dtype=torch.float64)
    assert torch.equal(as_sources(a, a + 1), torch.stack([a, a + 1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.dtype(">f4")])
def test_any_numbers_in_numpy_or_torch(dtype: np.dtype) -> None:
    values = np.arange(72).reshape(8, 9)
    array = values.astype(dtype)[::-1, ::-1]
    array.setflags(write=False)
    tensor = torch.tensor(values.copy()).flip(0, 1).float()
    for image in as_batches(array, tensor, tensor[None, None].numpy()[0, 0]):
        assert torch.equal(image.double(), tensor[None].double())


@pytest.mark.parametrize("as_given", [np.asarray, torch.from_numpy])
def test_colour_is_scored_by_its_luminance(as_given: Callable[[Any], Any]) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    fused, a, b = as_batches(as_given(colour), GREY, as_given(colour.astype(np.float32)))
    expected = torch.from_numpy(luminance(colour) * 255)
    for image in (fused, b):
        torch.testing.assert_close(image[0], expected)
    assert torch.equal(a[0], torch.from_numpy(GREY))


def test_colour_off_the_scale_is_refused_as_grey_is() -> None:
    colour = np.random.default_rng(0).random((8, 9, 3))
    with pytest.raises(UserError, match="look like pictures on 0–1"):
        as_sources(*as_batches(GREY, colour, colour)[1:])


@pytest.mark.parametrize(
    ("fused", "a", "message"),
    [
        (GREY, GREY[1:], r"must have one shape, but they have fused \(8, 9\), a \(7, 9\), b \(8, 9\)"),
        (np.zeros((8, 9, 4)), GREY, r"image fused has shape \(8, 9, 4\), but it must be grey \(H, W\), RGB"),
        (torch.zeros(2, 3, 8, 9), GREY, r"must be grey \(H, W\), RGB \(H, W, 3\), or a batch"),
        (GREY, GREY > 0, "image a holds bool values"),
        (GREY, torch.zeros(8, 9, dtype=torch.complex64), "image a holds torch.complex64 values"),
        (GREY, [[0, 1]], "image a is a list"),
        (np.array([["x"]]), GREY, "image fused holds <U1 values"),
    ],
)
def test_what_is_no_luminance_picture_is_refused(fused: object, a: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_batches(fused, a, GREY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.full((1, 4, 4), 4000), torch.zeros(1, 4, 4), "theirs go from 0 to 4000"),
        (torch.full((1, 4, 4), torch.inf), torch.zeros(1, 4, 4), "theirs go from 0 to inf"),
        (torch.full((1, 4, 4), -1.0), torch.zeros(1, 4, 4), "theirs go from -1 to 0"),
        (torch.rand(1, 4, 4), torch.rand(1, 4, 4), "look like pictures on 0–1"),
    ],
)
def test_sources_on_another_scale_are_refused(a: torch.Tensor, b: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_sources(a, b)


def test_dark_sources_and_rounding_errors_of_a_colour_conversion_are_taken() -> None:
    black = torch.zeros(1, 4, 4)
    assert as_sources(black, black).max() == 0
    assert as_sources(black, black + 255.0001).max() > 255
