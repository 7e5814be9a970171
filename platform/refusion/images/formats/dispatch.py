"""Choice of the decoder: by what a file begins with, not by its name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from refusion.images.formats.arrays import decode_npy
from refusion.images.formats.by_pillow import decode_by_pillow
from refusion.images.formats.medical import decode_dicom, decode_nifti
from refusion.images.formats.samples import Samples
from refusion.images.formats.tiff import decode_tiff

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pnm")
IMAGE_SUFFIXES = (*_PICTURES, ".npy", ".dcm", ".dicom", ".nii", ".nii.gz")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GZIP = b"\x1f\x8b"
_NIFTI = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")


def decode_samples(data: bytes, path: Path, megapixels: float) -> Samples:
    """Returns the picture in ``data``, upright and over black where it has alpha.

    Args:
        data: the whole file.
        path: for messages only.
        megapixels: pixels that it may have, in millions.

    Raises:
        UnreadableImageError: it is no usable picture.
    """
    if data[:4] in _TIFF:
        decode = decode_tiff
    elif data[:6] == b"\x93NUMPY":
        decode = decode_npy
    elif data[128:132] == b"DICM":
        decode = decode_dicom
    elif data[:2] == _GZIP or (data[:4] in _NIFTI and data[344:347] in (b"n+1", b"")) or data[4:7] == b"n+2":
        decode = decode_nifti
    else:
        decode = decode_by_pillow
    return decode(data, path, megapixels)


def suffix_of(path: Path) -> str:
    """Returns the suffix in lower case, ``.nii.gz`` as one.

    Example:
        >>> suffix_of(Path("brain.NII.gz")), suffix_of(Path("x.y.PNG")), suffix_of(Path("notes"))
        ('.nii.gz', '.png', '')
    """
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """Returns the name without its suffix in Unicode's composed form, in which names that look equal are equal.

    Example:
        >>> stem_of(Path("Ka\u0308fer.png")) == stem_of(Path("K\u00e4fer.nii.gz"))
        True
    """
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(suffix_of(path))])
