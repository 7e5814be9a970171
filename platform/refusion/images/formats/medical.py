"""DICOM and NIfTI slices, with the extra ``medical``."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refusion.images.formats.samples import Samples
from refusion.images.limits import UnreadableImageError, check_pixels

# Doubles, as nibabel scales them, and room for the header.
_BYTES_A_PIXEL, _HEADER = 8, 1 << 16


def decode_dicom(data: bytes, path: Path, megapixels: float) -> Samples:
    """Returns one slice in the units of its rescaling (of a CT Hounsfield's), with its window; the middle of several.

    Raises:
        UnreadableImageError: the extra is not installed, or the file has no pixels that can be decoded.
    """
    pydicom = _library("pydicom", path)
    pixels = _library("pydicom.pixels", path)

    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        check_pixels(path, rows * frames, columns, megapixels)
        values = dataset.pixel_array
        values = values[frames // 2] if frames > 1 else values
        colour = str(dataset.PhotometricInterpretation)
        if values.ndim == 3:
            values = pixels.convert_color_space(values, colour, "RGB") if colour.startswith("YBR") else values
        else:
            values = pixels.apply_modality_lut(values, dataset)
        window = _window(dataset)
        if colour == "MONOCHROME1":
            values, window = -values.astype(np.float64), window and (-window[1], -window[0])
    except UnreadableImageError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableImageError(path, f"is a DICOM file without pixels that can be decoded ({reason})") from error
    bits = int(dataset.get("BitsStored", 8))
    full = (0.0, 255.0) if values.dtype == np.uint8 else None
    return Samples(
        np.ascontiguousarray(values), f"DICOM, {bits} bits", full, window, measured=True, remarks=_of_slices(frames)
    )


def _window(dataset: Any) -> tuple[float, float] | None:
    """Returns black and white of the first window that the file names (PS3.3, C.11.2.1.2)."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None:
        return None
    centre, width = (float(value[0]) if hasattr(value, "__len__") else float(value) for value in (centre, width))
    if not width > 1:
        return None
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def decode_nifti(data: bytes, path: Path, megapixels: float) -> Samples:
    """Returns one axial slice, the front of the body up, in the units of its scaling; of several the middle.

    Raises:
        UnreadableImageError: the extra is not installed, or the file is damaged, too large or of five dimensions.
    """
    nibabel = _library("nibabel", path)
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(int(megapixels * 1e6) * _BYTES_A_PIXEL + _HEADER)
        kind = nibabel.Nifti2Image if data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nibabel.Nifti1Image
        picture = kind.from_bytes(data)
        shape = tuple(picture.shape)
        while len(shape) > 2 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3):
            raise UnreadableImageError(path, f"holds an image of shape {shape}: save one volume or slice")
        check_pixels(path, int(np.prod(shape[:1] + shape[2:])), shape[1], megapixels)
        volume = nibabel.as_closest_canonical(picture) if len(shape) == 3 else picture
        values = np.reshape(np.asarray(volume.dataobj), volume.shape[: len(shape)])
    except UnreadableImageError:
        raise
    except (zlib.error, EOFError, OSError) as error:
        raise UnreadableImageError(path, f"is truncated or damaged ({error})") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableImageError(path, f"is a NIfTI file that cannot be decoded ({reason})") from error
    slices = values.shape[2] if values.ndim == 3 else 1
    plane: NDArray[Any] = values[..., slices // 2] if values.ndim == 3 else values
    if plane.dtype.kind not in "uif":
        raise UnreadableImageError(path, f"holds values of type {plane.dtype}: save numbers")
    native = plane.astype(plane.dtype.newbyteorder("="), copy=False)
    full = (0.0, 255.0) if native.dtype == np.uint8 else None
    upright = np.ascontiguousarray(native.T[::-1])
    return Samples(upright, f"NIfTI, {plane.dtype.name}", full, measured=True, remarks=_of_slices(slices))


def _of_slices(count: int) -> tuple[str, ...]:
    return (f"the middle one of {count} slices",) if count > 1 else ()


def _library(name: str, path: Path) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnreadableImageError(
            path, f"needs {name}, which is not installed: pip install 'refusion-platform[medical]'"
        ) from error
