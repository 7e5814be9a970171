from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from refusion.errors import UserError
from refusion.images.reading import UnreadableImageError, read_image
from refusion.images.writing import write_image

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (9, 13), dtype=np.uint8)
RGB = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (9, 13, 1), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (9, 13), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
ALPHA16 = RNG.integers(0, 65536, (9, 13, 1), dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".PNG"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_eight_bits_come_out_exactly(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / f"x{suffix}")
    image = read_image(tmp_path / f"x{suffix}")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_jpeg_is_decoded_as_opencv_does(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.jpg", quality=90)
    expected = cv2.imread(str(tmp_path / "x.jpg"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), expected[..., ::-1] if pixels.ndim == 3 else expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_applied_over_black(tmp_path: Path, suffix: str) -> None:
    lossless = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(np.dstack([RGB, ALPHA])).save(tmp_path / f"rgba{suffix}", **lossless)
    np.testing.assert_array_equal(read_image(tmp_path / f"rgba{suffix}"), np.rint(RGB * np.float32(ALPHA / 255)))
    opaque = np.dstack([RGB, np.full_like(ALPHA, 255)])
    Image.fromarray(opaque).save(tmp_path / f"opaque{suffix}", **lossless)
    np.testing.assert_array_equal(read_image(tmp_path / f"opaque{suffix}"), RGB)
    if suffix != ".webp":
        Image.fromarray(np.dstack([GREY[..., None], ALPHA]), "LA").save(tmp_path / f"la{suffix}")
        expected = np.rint(GREY * np.float32(ALPHA[..., 0] / 255))
        np.testing.assert_array_equal(read_image(tmp_path / f"la{suffix}"), expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_palette_is_expanded(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(GREY % 4, "P")
    colours = np.array([[255, 0, 0], [0, 128, 0], [7, 8, 9], [200, 200, 0]], np.uint8)
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}"), colours[GREY % 4])


def test_transparent_palette_and_one_bit(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY % 2, "P")
    picture.putpalette(bytes([10, 20, 30, 40, 50, 60]))
    picture.save(tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "p.png")[GREY % 2 == 0][0], (0, 0, 0))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png")[GREY % 2 == 1][0], (40, 50, 60))
    Image.fromarray(GREY > 99).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_image(tmp_path / "one.png"), np.where(GREY > 99, 255, 0))


def test_equal_channels_stay_three(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(GREY[..., None], 3, 2)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (9, 13, 3)


def _opencv(pixels: np.ndarray) -> Callable[[Path], object]:
    order = {2: ..., 3: (..., [2, 1, 0]), 4: (..., [2, 1, 0, 3])}[pixels.shape[2] if pixels.ndim == 3 else 2]
    return lambda path: cv2.imwrite(str(path), pixels[order])


def _tifffile(pixels: np.ndarray, **options: object) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, pixels, **options)


@pytest.mark.parametrize(
    ("suffix", "write", "expected"),
    [
        (".png", _opencv(GREY16), GREY16),
        (".png", _opencv(RGB16), RGB16),
        (".png", _opencv(np.dstack([RGB16, ALPHA16])), RGB16 * (ALPHA16 / 65535)),
        (".tif", _opencv(GREY16), GREY16),
        (".tif", _opencv(RGB16), RGB16),
        (".tif", _tifffile(GREY16, photometric="minisblack"), GREY16),
        (".tif", _tifffile(GREY16, photometric="minisblack", byteorder=">"), GREY16),
        (".tif", _tifffile(65535 - GREY16, photometric="miniswhite"), GREY16),
        (".tif", _tifffile(RGB16, photometric="rgb"), RGB16),
        (".tif", _tifffile(RGB16, photometric="rgb", byteorder=">"), RGB16),
        (
            ".tif",
            _tifffile(np.dstack([RGB16, ALPHA16]), photometric="rgb", extrasamples=["unassalpha"]),
            RGB16 * (ALPHA16 / 65535),
        ),
    ],
)
def test_sixteen_bits_keep_their_precision(
    tmp_path: Path, suffix: str, write: Callable[[Path], object], expected: np.ndarray
) -> None:
    path = tmp_path / f"x{suffix}"
    write(path)
    image = read_image(path)
    assert image.max() <= 255
    # Alpha is applied in whole counts.
    np.testing.assert_allclose(image, expected / 257, atol=0.003)


def test_sixteen_bit_grey_with_alpha(tmp_path: Path) -> None:
    # No library here writes this kind, so the PNG is put together by hand: signature, header, data, end.
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    samples = np.dstack([GREY16, ALPHA16[..., 0]]).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 9, 16, 4, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "la.png").write_bytes(data)
    expected = GREY16 * (ALPHA16[..., 0] / 65535)
    np.testing.assert_allclose(read_image(tmp_path / "la.png"), expected / 257, atol=0.003)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    smooth = cv2.GaussianBlur(RGB, (0, 0), 3)
    Image.fromarray(smooth).save(tmp_path / f"x{suffix}", exif=exif, **({"quality": 100} if suffix == ".jpg" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"x{suffix}")))
    np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}"), expected)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("cut", [1, 2, 4, 12, 13, 30, 200, 0.5, 0.9, 0.99])
@pytest.mark.filterwarnings("ignore:.*Truncated:UserWarning", "ignore:Corrupt EXIF:UserWarning")
def test_truncated_files_are_found(tmp_path: Path, file_format: str, cut: float) -> None:
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(whole, file_format)
    data = whole.getvalue()
    missing = cut if cut >= 1 else int(cut * len(data))
    path = tmp_path / "cut.png"
    path.write_bytes(data)
    read_image(path)
    path.write_bytes(data[: -int(missing)])
    with pytest.raises(UserError, match=r"cut\.png"):
        read_image(path)


def test_the_first_picture_of_a_cameras_jpeg_is_read(tmp_path: Path) -> None:
    picture = Image.fromarray(RGB)
    picture.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[Image.fromarray(GREY)])
    picture.save(tmp_path / "plain.jpg", "JPEG")
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), read_image(tmp_path / "plain.jpg"))


def test_damaged_png_is_found(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(RGB).save(whole, "PNG", compress_level=0)
    data = bytearray(whole.getvalue())
    data[len(data) // 2] ^= 1
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: path.write_text("hello"), "not a readable image"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: Image.fromarray(RGB).convert("CMYK").save(path, "JPEG"), "CMYK"),
        (_tifffile(GREY.astype(np.float32)), "floats from .* no agreed range: state it with --range LOW,HIGH"),
        (_tifffile(GREY.astype(np.int16)), "no agreed range"),
        (_tifffile(GREY.astype(np.uint32)), "no agreed range"),
        (_tifffile(np.where(GREY > 9, np.nan, 0.5).astype(np.float32)), "NaN"),
        (_tifffile(np.stack([GREY, GREY]), photometric="minisblack"), "2 pictures"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.symlink_to(path.parent / "nowhere"), "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, write: Callable[[Path], object], why: str) -> None:
    path = tmp_path / "odd.png"
    write(path)
    with pytest.raises(UnreadableImageError, match=why) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, UserError)
    assert pickle.loads(pickle.dumps(caught.value)).what == caught.value.what


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_written_pictures_read_back(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    smooth = cv2.GaussianBlur(pixels, (0, 0), 3)
    write_image(tmp_path / f"x{suffix}", smooth)
    np.testing.assert_allclose(read_image(tmp_path / f"x{suffix}"), smooth, atol=0 if suffix != ".jpg" else 12)


def test_writing_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="suffixes"):
        write_image(tmp_path / "x.webp", GREY)
    with pytest.raises(UserError, match="cannot be written"):
        write_image(tmp_path / "missing" / "x.png", GREY)
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "x.png", GREY.astype(np.float32))  # type: ignore[arg-type]
