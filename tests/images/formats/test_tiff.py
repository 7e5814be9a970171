from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures.cells import packed_tiff
from PIL import Image

from refusion.images.formats import decode_samples
from refusion.images.formats.samples import Samples
from refusion.images.limits import UnreadableImageError

RNG = np.random.default_rng(11)
LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 32)},
    "planes": {"planarconfig": "separate"},
    "tiled planes": {"planarconfig": "separate", "tile": (16, 16)},
    "LZW": {"compression": "lzw"},
    "LZW with predictor": {"compression": "lzw", "predictor": True},
    "LZW planes": {"compression": "lzw", "planarconfig": "separate", "rowsperstrip": 7},
    "deflate": {"compression": "zlib"},
    "deflate tiles with predictor": {"compression": "zlib", "predictor": True, "tile": (16, 16)},
    "packed bits": {"compression": "packbits"},
    "zstd": {"compression": "zstd"},
    "big-endian": {"byteorder": ">"},
    "big-endian planes": {"byteorder": ">", "planarconfig": "separate"},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF planes, big-endian": {"bigtiff": True, "byteorder": ">", "planarconfig": "separate"},
}


def _decode(data: bytes, megapixels: float = 1) -> Samples:
    return decode_samples(data, Path("x.tif"), megapixels)


def _tiff(pixels: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    if options.get("byteorder") is None:
        options.pop("byteorder", None)
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_layout_gives_the_same_pixels(layout: str, dtype: Any, channels: int) -> None:
    options = dict(LAYOUTS[layout])
    pixels = RNG.integers(0, 256, (33, 47, 3)) if dtype == np.uint8 else RNG.integers(0, 65536, (33, 47, 3))
    pixels = (pixels / 65535).astype(dtype) if dtype == np.float32 else pixels.astype(dtype)
    if dtype == np.float32 and options.get("predictor"):
        options["predictor"] = 3
    if channels == 1:
        options.pop("planarconfig", None)
        data = _tiff(pixels[..., 0], photometric="minisblack", **options)
    else:
        stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
        data = _tiff(np.ascontiguousarray(stored), photometric="rgb", **options)
    expected = pixels[..., 0] if channels == 1 else pixels
    found = _decode(data)
    np.testing.assert_array_equal(found.values, expected)
    assert found.full == ((0, 1) if dtype == np.float32 else (0, np.iinfo(dtype).max))


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_packed_samples_span_their_own_depth(bits: int) -> None:
    pixels = RNG.integers(0, 2**bits, (13, 17)).astype(np.uint16)
    found = _decode(packed_tiff(pixels, bits))
    np.testing.assert_array_equal(found.values, pixels)
    assert found.full == (0, 2**bits - 1)
    assert found.about == f"TIFF, {bits} bits"


def test_alpha_is_applied_unless_it_has_been(tmp_path: Path) -> None:
    colours = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
    alpha = RNG.integers(0, 65536, (9, 13, 1), dtype=np.uint16)
    stack = np.concatenate([colours, alpha], -1)
    straight = _decode(_tiff(stack, photometric="rgb", extrasamples=["unassalpha"]))
    np.testing.assert_allclose(straight.values, colours * (alpha / 65535), atol=0.51)
    assert straight.remarks == ("alpha applied over black",)
    multiplied = _decode(_tiff(stack, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_array_equal(multiplied.values, colours)
    grey = _decode(_tiff(stack[..., [0, 3]], photometric="minisblack", extrasamples=["unassalpha"]))
    np.testing.assert_allclose(grey.values, colours[..., 0] * (alpha[..., 0] / 65535), atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_orientation_is_applied_once(orientation: int, dtype: Any) -> None:
    pixels = RNG.integers(0, 256, (5, 8)).astype(dtype)
    data = _tiff(pixels, photometric="minisblack", extratags=[(274, 3, 1, orientation, True)])
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG", exif=exif)
    found = _decode(data)
    np.testing.assert_array_equal(found.values, decode_samples(file.getvalue(), Path("x.png"), 1).values)
    assert found.orientation == orientation


def test_a_preview_is_passed_over_and_pages_are_not() -> None:
    pixels = RNG.integers(0, 65536, (32, 48), dtype=np.uint16)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels[::4, ::4], subfiletype=1, photometric="minisblack")
        writer.write(pixels, photometric="minisblack")
    np.testing.assert_array_equal(_decode(file.getvalue()).values, pixels)
    with pytest.raises(UnreadableImageError, match="holds 3 pictures: save the one that is meant"):
        _decode(_tiff(np.stack([pixels] * 3), photometric="minisblack"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (lambda: _tiff(np.zeros((9, 13, 5), np.uint16), planarconfig="contig", photometric="minisblack"), "4 bands"),
        (lambda: _tiff(np.zeros((9, 13, 3), np.uint16), planarconfig="contig", photometric="minisblack"), "2 bands"),
        (lambda: _tiff(np.zeros((5, 9, 13), np.uint8), planarconfig="separate", photometric="minisblack"), "4 bands"),
        (lambda: _tiff(np.zeros((9, 13, 2), np.uint8), planarconfig="contig", photometric="minisblack"), "meaning"),
        (lambda: _tiff(np.zeros((9, 13, 4), np.uint16), photometric="separated"), "SEPARATED of 16 bits"),
        (lambda: _tiff(np.zeros((9, 13), np.complex64)), "no real numbers"),
        (lambda: _tiff(np.zeros((9, 13), np.int32), photometric="miniswhite"), "white is zero, without a range"),
    ],
)
def test_what_is_no_picture_of_grey_or_rgb_is_said_to_be_a_layout(data: Callable[[], bytes], why: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"is a TIFF of an unsupported layout: .*{why}"):
        _decode(data())


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("layout", ["strips", "tiled planes", "LZW", "deflate"])
def test_a_truncated_file_is_damaged(cut: float, layout: str) -> None:
    pixels = RNG.integers(0, 65536, (33, 47, 3)).astype(np.uint16)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in LAYOUTS[layout] else pixels
    data = _tiff(np.ascontiguousarray(stored), photometric="rgb", **LAYOUTS[layout])
    with pytest.raises(UnreadableImageError, match="damaged"):
        _decode(data[: int(len(data) * cut)])


def test_a_declared_size_takes_no_memory() -> None:
    data = bytearray(_tiff(np.zeros((16, 16), np.uint16), photometric="minisblack"))
    for tag in (256, 257):
        at = data.index(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0")
        data[at + 8 : at + 12] = (9000).to_bytes(4, "little")
    with pytest.raises(UnreadableImageError, match=r"too large \(9000×9000 pixels"):
        _decode(bytes(data), 50)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        _decode(bytes(data), 100)
