from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from refusion.images.colour import chroma, has_colour, luminance, restore_colour, stretch, stretch_exact
from refusion.images.reading import read_image

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (20, 30, 3)).astype(np.float32)
GREY = RNG.integers(0, 256, (20, 30)).astype(np.float32)


def test_luminance_is_opencvs_and_the_written_formula() -> None:
    by_hand = (0.299 * RGB[..., 0].astype(float) + 0.587 * RGB[..., 1] + 0.114 * RGB[..., 2]) / 255
    np.testing.assert_allclose(luminance(RGB), by_hand, atol=2e-7)
    np.testing.assert_array_equal(luminance(RGB), cv2.cvtColor(RGB, cv2.COLOR_RGB2YCrCb)[..., 0] / np.float32(255))
    np.testing.assert_array_equal(luminance(RGB.astype(np.uint8)), luminance(RGB))


@given(arrays(np.uint8, (4, 5, 3)))
def test_luminance_keeps_its_range(image: np.ndarray) -> None:
    y = luminance(image)
    assert y.dtype == np.float32
    assert y.shape == (4, 5)
    assert y.min() >= 0
    assert y.max() <= 1


def test_grey_values_are_their_own_luminance() -> None:
    np.testing.assert_array_equal(luminance(GREY), GREY / np.float32(255))
    np.testing.assert_allclose(luminance(np.repeat(GREY[..., None], 3, 2)), GREY / 255, atol=2e-7)


def test_chroma_follows_the_written_formula() -> None:
    y = 255 * luminance(RGB).astype(float)
    expected = np.dstack([(RGB[..., 0] - y) * 0.713 + 0.5, (RGB[..., 2] - y) * 0.564 + 0.5])
    np.testing.assert_allclose(chroma(RGB), expected, atol=1e-3)
    assert (chroma(GREY) == 0.5).all()


def test_has_colour() -> None:
    equal = np.repeat(GREY[..., None], 3, 2)
    assert has_colour(RGB)
    assert not has_colour(GREY)
    assert not has_colour(equal)
    equal[3, 4, 1] += 1
    assert has_colour(equal)


def test_stretch_spans_the_range() -> None:
    fused = np.array([[0.2, 0.3], [0.5, 0.7]], np.float32)
    np.testing.assert_array_equal(stretch(fused), [[0, 51], [153, 255]])
    np.testing.assert_allclose(stretch_exact(fused), [[0, 51], [153, 255]], atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_a_constant_image_keeps_its_value(value: float) -> None:
    assert (stretch(np.full((3, 3), value)) == round(255 * value)).all()


def test_colour_of_the_one_coloured_source_is_kept() -> None:
    y = 255 * luminance(RGB)
    for a, b in ((RGB, GREY), (GREY, RGB), (np.repeat(GREY[..., None], 3, 2), RGB)):
        assert np.abs(restore_colour(y, a, b).astype(int) - RGB.astype(int)).max() <= 1


def test_without_colour_the_result_is_grey() -> None:
    result = restore_colour(GREY + 0.4, GREY, np.repeat(GREY[..., None], 3, 2))
    np.testing.assert_array_equal(result, GREY.astype(np.uint8))


def test_two_colours_are_weighted_by_their_distance_from_neutral() -> None:
    strong = np.full((2, 2, 3), (200, 100, 100), np.float32)
    weak = np.full((2, 2, 3), (110, 100, 100), np.float32)
    y = np.full((2, 2), 128, np.float32)
    c_strong, c_weak = chroma(strong)[0, 0].astype(float), chroma(weak)[0, 0].astype(float)
    w_strong, w_weak = abs(c_strong - 0.5), abs(c_weak - 0.5)
    cr, cb = (w_strong * c_strong + w_weak * c_weak) / (w_strong + w_weak)
    expected = [128 + 1.403 * (cr - 0.5), 128 - 0.714 * (cr - 0.5) - 0.344 * (cb - 0.5), 128 + 1.773 * (cb - 0.5)]
    result = restore_colour(y, strong, weak)
    np.testing.assert_allclose(result[0, 0], expected, atol=1)
    np.testing.assert_array_equal(result, restore_colour(y, weak, strong))


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        restore_colour(GREY, GREY, GREY[1:])


def test_the_published_images_come_out_the_same(published: Path, shared_data: Path) -> None:
    files = sorted((published / "expected").glob("*.npz"))
    assert files
    for file in files:
        task, stem = file.stem.split("__")
        a, b = (read_image(next((shared_data / task / "val" / side).glob(f"{stem}.*"))) for side in "ab")
        with np.load(file) as expected:
            raw = expected["raw"].squeeze()
            np.testing.assert_array_equal(stretch(raw), expected["luminance"], err_msg=file.stem)
            result = restore_colour(stretch_exact(raw), a, b)
            assert (result.ndim == 3) == ("rgb" in expected), file.stem
            if "rgb" in expected:
                np.testing.assert_array_equal(result, expected["rgb"], err_msg=file.stem)
