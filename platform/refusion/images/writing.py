"""Writing of one picture: PNG, TIFF or JPEG, 8 or 16 bits, with what its source carried beside its pixels."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags

from refusion.errors import UserError
from refusion.images.limits import read_bytes

Depth = Literal[8, 16]
WRITABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

_ORIENTATION, _UPRIGHT, _TURNED = 274, 1, (5, 6, 7, 8)
_ICC_TAG = 34675
# Directories of EXIF data (EXIF, GPS), and the tags that say how a TIFF's own pixels lie, which are not another file's.
_DIRECTORIES = (34665, 34853)
_STRUCTURE = {
    *range(254, 260), 262, 263, 264, 265, 266, 273, 274, *range(277, 285), 290, 291, 292, 293, 296, 301, 317, 318, 319,
    320, *range(322, 326), 330, *range(332, 348), 512, 513, 514, *range(515, 522), *range(529, 533), _ICC_TAG,
}  # fmt: skip
_PNG_SIGNATURE_AND_HEADER = 33
_INCH = 0.0254


@dataclass(frozen=True)
class Carried:
    """Data that a picture carries beside its pixels.

    Attributes:
        icc: colour profile.
        exif: EXIF data, of an upright picture.
        dpi: resolution across and down, in pixels an inch.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


def read_carried(path: Path, *, colour: bool) -> Carried:
    """Returns what a source carries that a result made of it may keep; nothing where it cannot be read.

    The orientation is left out of the EXIF data, as it has been applied. A profile of another kind (of colour for a
    grey picture, of grey for a coloured one) is left out.

    Args:
        path: the source.
        colour: True where the result has colour.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as picture:
            exif = picture.getexif()
            turned = exif.pop(_ORIENTATION, _UPRIGHT) in _TURNED
            if picture.format == "TIFF":
                for tag in _STRUCTURE & set(exif):
                    del exif[tag]
            icc, dpi = picture.info.get("icc_profile"), picture.info.get("dpi")
            kept = exif.tobytes() if len(exif) else None
    except Exception:  # noqa: BLE001
        return Carried()  # what has no such data, or damaged ones, carries nothing
    if icc is not None and icc[16:20] != (b"RGB " if colour else b"GRAY"):
        icc = None
    if not (isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(value) < 1e6 for value in dpi)):
        dpi = None
    elif turned:
        dpi = dpi[::-1]
    return Carried(icc, kept, None if dpi is None else (float(dpi[0]), float(dpi[1])))


def to_depth(grey_levels: NDArray[Any], depth: Depth) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Returns grey levels (0–255, not rounded) as whole numbers of 8 or 16 bits.

    >>> to_depth(np.array([0, 127.6, 255]), 8).tolist(), to_depth(np.array([0, 127.6, 255]), 16).tolist()
    ([0, 128, 255], [0, 32793, 65535])
    """
    if depth == 8:
        levels: NDArray[np.uint8] = np.clip(np.rint(grey_levels), 0, 255).astype(np.uint8)
        return levels
    counts: NDArray[np.uint16] = np.clip(np.rint(np.asarray(grey_levels, np.float64) * 257), 0, 65535).astype(np.uint16)
    return counts


def write_image(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16], carried: Carried | None = None) -> None:
    """Writes (H, W) grey or (H, W, 3) RGB in the format of the file's suffix (JPEG at quality 95), whole or not at all.

    Args:
        path: PNG, TIFF, JPEG or BMP; 16 bits go into PNG and TIFF.
        image: uint8 or uint16.
        carried: what to write beside the pixels.

    Raises:
        UserError: the suffix is another, or of a format without 16 bits, or the file cannot be written.
        ValueError: the array is not of that shape and type.
    """
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
    ):
        raise ValueError(f"expected a uint8 array of shape (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise UserError(f"{path}: give the picture one of the suffixes {', '.join(WRITABLE_SUFFIXES)}")
    deep = image.dtype == np.uint16
    if deep and suffix not in (".png", ".tif", ".tiff"):
        raise UserError(f"{path}: 16 bits are written as PNG or TIFF")
    with_it = carried or Carried()
    pixels = np.ascontiguousarray(image)
    data: bytes | memoryview
    if deep and suffix == ".png":
        data = _deep_png(pixels, with_it)
    elif deep and pixels.ndim == 3:
        data = _deep_tiff(pixels, with_it)
    else:
        data = _by_pillow(pixels, suffix, with_it)
    _write(path, data)


def _by_pillow(pixels: NDArray[Any], suffix: str, carried: Carried) -> bytes | memoryview:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"icc_profile": carried.icc, "exif": carried.exif, "dpi": carried.dpi}
    given = {name: value for name, value in options.items() if value is not None}
    Image.fromarray(pixels).save(buffer, Image.registered_extensions()[suffix], quality=95, **given)
    return buffer.getbuffer()


def _deep_png(pixels: NDArray[Any], carried: Carried) -> bytes:
    """Encodes by OpenCV, as Pillow has no 16-bit RGB, and puts the chunks for the rest behind the header."""
    done, encoded = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    if not done:
        raise ValueError("OpenCV does not encode these pixels as PNG")
    data = encoded.tobytes()
    chunks = b""
    if carried.icc is not None:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(carried.icc))
    if carried.dpi is not None:
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(value / _INCH) for value in carried.dpi), 1))
    if carried.exif is not None:
        chunks += _chunk(b"eXIf", carried.exif.removeprefix(b"Exif\0\0"))
    return data[:_PNG_SIGNATURE_AND_HEADER] + chunks + data[_PNG_SIGNATURE_AND_HEADER:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _deep_tiff(pixels: NDArray[Any], carried: Carried) -> bytes:
    """Encodes in one strip by Pillow's own writer of directories, as Pillow has no 16-bit RGB, nor tifffile EXIF."""
    height, width = pixels.shape[:2]
    exif = Image.Exif()
    if carried.exif is not None:
        exif.load(carried.exif)
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in exif.items():
        if tag not in _STRUCTURE and tag not in _DIRECTORIES:
            directory[tag] = value
    for tag in _DIRECTORIES:
        if inner := exif.get_ifd(tag):
            directory.tagtype[tag] = TiffTags.LONG
            directory[tag] = dict(inner)
    own: dict[int, Any] = {
        256: width, 257: height, 258: (16, 16, 16), 259: 1, 262: 2, 273: 0, 277: 3, 278: height, 279: pixels.nbytes,
        284: 1,
    }  # fmt: skip
    if carried.dpi is not None:
        own |= {282: carried.dpi[0], 283: carried.dpi[1], 296: 2}
    for tag, value in own.items():
        directory[tag] = value
    if carried.icc is not None:
        directory.tagtype[_ICC_TAG] = TiffTags.UNDEFINED
        directory[_ICC_TAG] = carried.icc
    buffer = io.BytesIO()
    # An offset of 0 is counted from the end of the directory.
    directory.save(buffer)
    buffer.write(pixels.astype("<u2", copy=False).tobytes())
    return buffer.getvalue()


def _write(path: Path, data: bytes | memoryview) -> None:
    """Writes beside the file and renames, so that nobody finds half a picture."""
    beside = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
