"""NumPy's ``.npy`` files: one array of (H, W) or (H, W, 3)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from refusion.images.formats.samples import Samples
from refusion.images.limits import UnreadableImageError, check_pixels


def decode_npy(data: bytes, path: Path, megapixels: float) -> Samples:
    """Returns the array of a ``.npy`` file; nothing in it is unpickled.

    uint8 and uint16 span their depth, floats span 0 to 1, other integers have no agreed range.

    Raises:
        UnreadableImageError: it is damaged, too large, of another shape or of a type that is no number.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except Exception as error:
        raise UnreadableImageError(path, "is a damaged .npy file") from error
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))):
        raise UnreadableImageError(path, f"holds an array of shape {shape}: save (H, W) or (H, W, 3)")
    if dtype.kind not in "uif":
        raise UnreadableImageError(path, f"holds an array of type {dtype}: save uint8, uint16 or float32")
    check_pixels(path, shape[0], shape[1], megapixels)
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise UnreadableImageError(path, "is truncated or damaged (its end is missing)") from error
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    full = (0.0, 1.0) if dtype.kind == "f" else (0.0, float(2 ** (8 * dtype.itemsize) - 1))
    agreed = dtype.kind == "f" or (dtype.kind == "u" and dtype.itemsize <= 2)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return Samples(np.ascontiguousarray(native), f"npy, {dtype.name}", full if agreed else None)
