from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refusion.images.formats import decode_samples
from refusion.images.formats.samples import Samples
from refusion.images.limits import UnreadableImageError

RNG = np.random.default_rng(4)
FRAMES = RNG.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


def _decode(data: bytes) -> Samples:
    return decode_samples(data, Path("x"), 1)


def _saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(file_format: str) -> None:
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    options = {"lossless": True} if file_format == "WEBP" else {}
    animated = _decode(_saved(first, file_format, save_all=True, append_images=others, **options))
    still = _decode(_saved(first, file_format, **options))
    np.testing.assert_array_equal(animated.values, still.values)
    assert animated.remarks == ("the first frame of an animation",)
    assert still.remarks == ()


@pytest.mark.parametrize("greatest", [1, 15, 255, 256, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_pgm_and_ppm_of_any_depth(greatest: int, channels: int) -> None:
    pixels = RNG.integers(0, greatest + 1, (5, 8) if channels == 1 else (5, 8, 3))
    pixels.flat[0] = greatest
    kind = "P5" if channels == 1 else "P6"
    samples = pixels.astype(">u2" if greatest > 255 else np.uint8).tobytes()
    found = _decode(f"{kind} # of a microscope\n8 5\n{greatest}\n".encode() + samples)
    assert found.full is not None
    unit = found.values / found.full[1]
    np.testing.assert_allclose(unit, pixels / greatest, atol=0.5 / 255 if greatest < 255 else 1e-9)


def test_a_short_or_false_pgm_is_refused() -> None:
    whole = b"P5 8 5 4095\n" + np.full(40, 4095, ">u2").tobytes()
    assert _decode(whole).values.shape == (5, 8)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        _decode(whole[:-1])
    with pytest.raises(UnreadableImageError, match="greater than 4000"):
        _decode(whole.replace(b"4095", b"4000"))
    with pytest.raises(UnreadableImageError, match="too large"):
        _decode(b"P5 80000 50000 4095\n" + b"\0" * 80)


def test_transparent_colours_do_not_show() -> None:
    hidden = np.dstack([np.full((4, 6, 3), 200, np.uint8), np.zeros((4, 6), np.uint8)])
    for file_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        found = _decode(_saved(Image.fromarray(hidden), file_format, **options))
        assert found.values.max() == 0
        assert found.remarks == ("alpha applied over black",)
    grey = Image.fromarray(np.array([[10, 20, 30]], np.uint8))
    assert _decode(_saved(grey, "PNG", transparency=20)).values.tolist() == [[10, 0, 30]]


def test_what_a_file_is_is_read_off_its_first_bytes(tmp_path: Path) -> None:
    data = _saved(Image.fromarray(FRAMES[0]), "WEBP", lossless=True)
    assert decode_samples(data, tmp_path / "camera.jpg", 1).about == "WEBP, 8 bits"
