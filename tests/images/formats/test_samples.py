from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from refusion.images.formats.samples import Samples, over_black, upright

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_pillows(orientation: int) -> None:
    picture = Image.fromarray(PIXELS)
    picture.getexif()[274] = orientation
    found = upright(Samples(PIXELS, "", (0, 255), orientation=orientation))
    np.testing.assert_array_equal(found.values, np.asarray(ImageOps.exif_transpose(picture)))
    assert found.orientation == orientation
    assert found.values.flags.c_contiguous


def test_alpha_in_whole_counts() -> None:
    alpha = np.array([[0, 65535, 32768]], np.uint16)
    values, remarks = over_black(np.full((1, 3), 60001, np.uint16), alpha)
    assert values.tolist() == [[0, 60001, 30001]]
    assert values.dtype == np.uint16
    assert remarks
    whole, none = over_black(values, np.full_like(alpha, 65535))
    assert whole is values
    assert none == ()
