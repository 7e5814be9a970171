"""TIFF by tifffile where it has more than 8 bits, floats, or planes; by Pillow where it is 8-bit and ordinary."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from refusion.images.formats.by_pillow import decode_by_pillow
from refusion.images.formats.samples import UPRIGHT, Samples, over_black, upright
from refusion.images.limits import UnreadableImageError, check_pixels

# What it logs of damaged files is said in the one sentence on each.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_REDUCED_OR_MASK = 1 | 4
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PREMULTIPLIED, _STRAIGHT = 1, 2
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_SEPARATE_PLANES = 2
_COLOURS = {1: "grey", 3: "RGB"}


def decode_tiff(data: bytes, path: Path, megapixels: float) -> Samples:
    """Returns the one picture of a TIFF, upright; previews and masks beside it are passed over.

    Integers of 9 to 16 bits span their own depth (a 12-bit TIFF is white at 4095); floats span 0 to 1; signed and
    32-bit integers have no agreed range.

    Raises:
        UnreadableImageError: it is damaged, too large, holds several pictures, or has an unsupported layout.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            pages = [page for page in file.pages if not int(getattr(page, "subfiletype", 0) or 0) & _REDUCED_OR_MASK]
            if len(pages) > 1:
                raise UnreadableImageError(path, f"holds {len(pages)} pictures: save the one that is meant")
            page = pages[0] if pages else file.pages[0]
            height, width = int(page.imagelength), int(page.imagewidth)
            check_pixels(path, height, width, megapixels)
            check_pixels(path, int(page.tilelength or 1), int(page.tilewidth or 1), megapixels)
            # Pillow does not know a big-endian BigTIFF.
            if _is_ordinary(page) and data[:4] != b"MM\0+":
                return decode_by_pillow(data, path, megapixels)
            _refuse_layout(page, path)
            # A declared size that the file cannot hold is refused before memory is taken for it.
            if page.compression == 1 and height * width * page.samplesperpixel * page.bitspersample > len(data) * 8:
                raise UnreadableImageError(path, "is truncated or damaged (its end is missing)")
            return upright(_samples(page, page.asarray(maxworkers=1), path))
    except UnreadableImageError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableImageError(path, f"is a TIFF that is damaged or of an unsupported layout ({reason})") from error


def _is_ordinary(page: Any) -> bool:
    """Returns True for unsigned samples of at most 8 bits, without loose bands or planes, which Pillow decodes."""
    loose = [extra for extra in page.extrasamples if int(extra) not in (_PREMULTIPLIED, _STRAIGHT)]
    separate = int(page.planarconfig) == _SEPARATE_PLANES and page.samplesperpixel > 1
    return int(page.sampleformat) == _UNSIGNED and int(page.bitspersample) <= 8 and not loose and not separate


def _refuse_layout(page: Any, path: Path) -> None:
    colours = _colours(page)
    photometric, bits = int(page.photometric), int(page.bitspersample)
    what = None
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        what = f"{getattr(page.photometric, 'name', photometric)} of {bits} bits"
    elif colours not in _COLOURS or (colours == 3) != (photometric == _RGB):
        what = f"{page.samplesperpixel} bands that are not declared as grey, RGB or either with alpha"
    elif page.imagedepth > 1:
        what = f"a volume of {page.imagedepth} slices"
    elif len(page.extrasamples) > 1:
        what = f"{len(page.extrasamples)} bands besides its colours"
    if what:
        raise UnreadableImageError(path, f"is a TIFF of an unsupported layout: {what}; save it as grey or RGB")


def _colours(page: Any) -> int:
    return int(page.samplesperpixel) - len(page.extrasamples)


def _samples(page: Any, values: NDArray[Any], path: Path) -> Samples:
    bits, kind = int(page.bitspersample), int(page.sampleformat)
    values = np.squeeze(values)
    if int(page.planarconfig) == _SEPARATE_PLANES and page.samplesperpixel > 1:
        values = np.moveaxis(np.reshape(values, (page.samplesperpixel, page.imagelength, page.imagewidth)), 0, -1)
    values = np.reshape(values, (page.imagelength, page.imagewidth, page.samplesperpixel))
    full: tuple[float, float] | None = None
    if kind == _UNSIGNED and bits <= 16:
        full = (0.0, float(2**bits - 1))
    elif kind == _FLOAT:
        full = (0.0, 1.0)
    elif kind not in (_UNSIGNED, _SIGNED):
        raise UnreadableImageError(path, "is a TIFF of an unsupported layout: samples that are no real numbers")
    picture = values[..., : _colours(page)]
    picture = np.ascontiguousarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    if int(page.photometric) == _WHITE_IS_ZERO:
        if full is None:
            raise UnreadableImageError(path, "is a TIFF of an unsupported layout: white is zero, without a range")
        picture = (np.asarray(full[1], picture.dtype) - picture).astype(picture.dtype)
    remarks: tuple[str, ...] = ()
    if page.extrasamples and int(page.extrasamples[0]) == _STRAIGHT:
        if kind != _UNSIGNED or bits not in (8, 16):
            raise UnreadableImageError(path, f"is a TIFF of an unsupported layout: alpha of {bits} bits")
        picture, remarks = over_black(picture, values[..., _colours(page)])
    elif page.extrasamples and int(page.extrasamples[0]) != _PREMULTIPLIED:
        raise UnreadableImageError(path, "is a TIFF of an unsupported layout: a band of unstated meaning")
    tag = page.tags.get(274)
    orientation = int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else UPRIGHT
    names = {_UNSIGNED: "", _SIGNED: ", signed", _FLOAT: ", float"}
    return Samples(picture, f"TIFF, {bits} bits{names[kind]}", full, orientation=orientation, remarks=remarks)
