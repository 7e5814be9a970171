"""Pictures that Pillow decodes: PNG, JPEG, BMP, WebP, GIF, PGM, PPM, and TIFF of up to 8 bits."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refusion.images.formats.samples import UPRIGHT, Samples, over_black, upright
from refusion.images.limits import UnreadableImageError, check_pixels

# Our own limit is checked before a pixel is decoded, and can be raised.
Image.MAX_IMAGE_PIXELS = None

# Naming the decoders keeps Pillow from trying other formats.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF")
# Many cameras write it as .jpg: a JPEG with a preview or depth map behind the picture.
_JPEG_AND_MORE = "MPO"
_ANIMATED = {"PNG", "GIF", "WEBP"}
_PNG_END = b"IEND\xaeB\x60\x82"
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"}
_GREY_16_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION = 274
_FULL_8, _FULL_16 = (0.0, 255.0), (0.0, 65535.0)
_PNM_HEADER = re.compile(rb"P([56])(?:\s*#[^\n]*\n|\s)+(\d+)(?:\s*#[^\n]*\n|\s)+(\d+)(?:\s*#[^\n]*\n|\s)+(\d+)\s")


def decode_by_pillow(data: bytes, path: Path, megapixels: float) -> Samples:
    """Returns the picture in ``data``, upright; of an animation the first frame.

    Raises:
        UnreadableImageError: it is damaged, truncated, too large, CMYK, or a TIFF of several pictures.
    """
    if data[:1] == b"P" and (header := _PNM_HEADER.match(data)) and int(header[4]) > 255:
        return _deep_pnm(data, header, path, megapixels)
    picture = _open(data, path)
    check_pixels(path, picture.height, picture.width, megapixels)
    orientation = _orientation(picture)
    try:
        what, remarks = _of_several(picture)
        if what is None and picture.mode not in _GREY_MODES | _COLOUR_MODES | _GREY_16_MODES:
            what = f"has pixels of the kind {picture.mode}: save it as grey or RGB with 8 or 16 bits"
        if what is None:
            if picture.format == "PNG":
                # Loading alone skips the checksums and all that follows the pixels.
                _open(data, path).verify()
            picture.load()
    except Exception as error:
        raise UnreadableImageError(path, f"is truncated or damaged ({error})") from error
    if what:
        raise UnreadableImageError(path, what)
    if not _has_end(picture, data):
        raise UnreadableImageError(path, "is truncated or damaged (its end is missing)")
    values, more = _pixels(picture, data, path)
    bits = 16 if values.dtype == np.uint16 else 8
    full = _FULL_16 if bits == 16 else _FULL_8
    name = "JPEG" if picture.format == _JPEG_AND_MORE else picture.format
    samples = Samples(values, f"{name}, {bits} bits", full, orientation=orientation, remarks=remarks + more)
    # Pillow turns a TIFF by itself.
    return samples if picture.format == "TIFF" else upright(samples)


def _open(data: bytes, path: Path) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception as error:
        raise UnreadableImageError(path, "is not a readable image (no whole picture of a known format)") from error


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001
        return UPRIGHT  # unreadable EXIF data do not rotate
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _of_several(picture: Image.Image) -> tuple[str | None, tuple[str, ...]]:
    """Returns the reason to refuse a file of several pictures, or the remark on what is taken of an animation."""
    if picture.format in _ANIMATED:
        return None, ("the first frame of an animation",) * bool(getattr(picture, "is_animated", False))
    pictures = getattr(picture, "n_frames", 1)
    if pictures > 1 and picture.format != _JPEG_AND_MORE:
        return f"holds {pictures} pictures: save the one that is meant", ()
    return None, ()


def _has_end(picture: Image.Image, data: bytes) -> bool:
    """Returns True where the last bytes, which hold no pixels and which no decoder asks for, are complete."""
    if picture.format == "PNG":
        return _PNG_END in data
    if picture.format == "BMP":
        return int.from_bytes(data[2:6], "little") <= len(data)
    return True


def _pixels(picture: Image.Image, data: bytes, path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    if picture.mode in _GREY_16_MODES:
        return np.asarray(picture).astype(np.uint16), ()
    # The header chunk is always first, with the depth in this byte.
    if picture.format == "PNG" and data[24] == 16:
        return _deep_png(picture, data, path)
    grey = picture.mode in _GREY_MODES
    if "A" in picture.mode or "transparency" in picture.info:
        pair = np.asarray(picture.convert("LA" if grey else "RGBA"))
        return over_black(pair[..., 0] if grey else np.ascontiguousarray(pair[..., :3]), pair[..., -1])
    mode = "L" if grey else "RGB"
    # A conversion to its own mode is one more copy.
    return np.asarray(picture if picture.mode == mode else picture.convert(mode)), ()


def _deep_png(picture: Image.Image, data: bytes, path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Decodes several 16-bit channels by OpenCV (in the order B, G, R, A); Pillow would reduce them to 8 bits."""
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if values is None or values.dtype != np.uint16 or values.shape[1::-1] != picture.size or values.ndim != 3:
        raise UnreadableImageError(path, "has 16-bit channels in an unusual layout: save it as RGB of 16 bits")
    colours = np.ascontiguousarray(values[..., 2::-1])
    # OpenCV decodes grey with alpha to four channels, three of them equal.
    if data[25] == 4:
        colours = np.ascontiguousarray(values[..., 0])
    return over_black(colours, values[..., 3]) if values.shape[2] == 4 else (colours, ())


def _deep_pnm(data: bytes, header: re.Match[bytes], path: Path, megapixels: float) -> Samples:
    """Decodes binary PGM or PPM of more than 8 bits, whose own greatest value is white; Pillow makes RGB 8 bits."""
    width, height, greatest = (int(header[group]) for group in (2, 3, 4))
    if greatest > 65535:
        raise UnreadableImageError(path, f"is no PGM or PPM: its greatest value is {greatest}")
    check_pixels(path, height, width, megapixels)
    shape = (height, width) if header[1] == b"5" else (height, width, 3)
    count = int(np.prod(shape))
    if len(data) - header.end() < 2 * count:
        raise UnreadableImageError(path, "is truncated or damaged (its end is missing)")
    values = np.frombuffer(data, ">u2", count, header.end()).astype(np.uint16).reshape(shape)
    if int(values.max()) > greatest:
        raise UnreadableImageError(path, f"is damaged: a value is greater than {greatest}, the greatest it names")
    kind = "PGM" if len(shape) == 2 else "PPM"
    return Samples(values, f"{kind}, {greatest.bit_length()} bits", (0.0, float(greatest)))
