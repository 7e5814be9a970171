"""Reading of one picture: its bytes, its samples, its grey levels. Every job reads through here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import DEFAULT_MEGAPIXELS, RangeRule
from refusion.images.formats import IMAGE_SUFFIXES, Samples, decode_samples, stem_of, suffix_of
from refusion.images.limits import UnreadableImageError, read_bytes
from refusion.images.ranges import Extent, UnusableRangeError, find_extent, measure, to_grey_levels

__all__ = [
    "IMAGE_SUFFIXES",
    "GreyLevels",
    "UnreadableImageError",
    "decode",
    "open_source",
    "read_bytes",
    "read_image",
    "read_source",
    "stem_of",
    "suffix_of",
]


def read_image(path: Path, megapixels: float = DEFAULT_MEGAPIXELS) -> NDArray[np.float32]:
    """Returns the grey levels of one file that is no source of a pair: a fused picture, a true image.

    8-bit values come out exactly, deeper ones span their depth (16 bits: divided by 257), floats 0 to 1. A picture is
    turned upright as its EXIF data ask, alpha is applied over black, a palette is expanded, and a file with three
    channels stays (H, W, 3) even where they are all equal (``colour.has_colour`` decides). Colour profiles are not
    applied.

    Returns:
        (H, W) grey or (H, W, 3) RGB, float32 in 0–255.

    Raises:
        UnreadableImageError: (a UserError) the file is missing, empty, no picture, truncated, damaged or too large, of
            a kind that has no agreed range, or holds several pictures.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from refusion.images.writing import write_image
        >>> file = Path(tempfile.mkdtemp()) / "grey.png"
        >>> write_image(file, np.array([[0, 128, 255]], np.uint8))
        >>> read_image(file).tolist()
        [[0.0, 128.0, 255.0]]
    """
    samples = decode(read_bytes(path, megapixels), path, megapixels)
    rule = RangeRule("full")
    try:
        extremes = measure(samples, rule)
        return to_grey_levels(samples, samples.window or find_extent(rule, extremes, extremes))
    except UnusableRangeError as error:
        raise UnreadableImageError(path, str(error)) from error


class GreyLevels:
    """A decoded picture that gives its rows in grey levels when it is sliced, so that they are never all there at once.

    Args:
        samples: of the picture.
        extent: black and white; None for those of its depth.

    Attributes:
        shape: (H, W) or (H, W, 3).

    Example:
        >>> picture = GreyLevels(Samples(np.array([[0], [1], [2]], np.uint8), "", (0, 255)), (0, 2))
        >>> picture.shape, picture[1:].tolist()
        ((3, 1), [[127.5], [255.0]])
    """

    def __init__(self, samples: Samples, extent: Extent | None) -> None:
        self._samples, self._extent = samples, extent
        self.shape: tuple[int, ...] = samples.values.shape

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Returns float32 in 0–255 for a slice of rows."""
        return to_grey_levels(replace(self._samples, values=self._samples.values[rows]), self._extent)


def read_source(path: Path, extent: Extent | None, size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the grey levels of a source as its pair was checked, as ``open_source`` gives them."""
    return open_source(path, extent, size)[:]


def open_source(path: Path, extent: Extent | None, size: tuple[int, int]) -> GreyLevels:
    """Returns a source as its pair was checked, to be taken by rows.

    Args:
        path: the file.
        extent: black and white as the check found them; None for those of the file's depth.
        size: height and width that it had then.

    Raises:
        UnreadableImageError: it can no longer be read, or has changed since.
    """
    # It was within the limit when it was checked.
    megapixels = max(DEFAULT_MEGAPIXELS, size[0] * size[1] / 1e6)
    samples = decode(read_bytes(path, megapixels), path, megapixels)
    if samples.values.shape[:2] != size:
        raise UnreadableImageError(path, "its size has changed since the pairs were checked; start again")
    picture = GreyLevels(samples, extent)
    try:
        picture[:1]
    except UnusableRangeError as error:
        raise UnreadableImageError(path, str(error)) from error
    return picture


def decode(data: bytes, path: Path, megapixels: float = DEFAULT_MEGAPIXELS) -> Samples:
    """Returns the samples in ``data``, upright; ``path`` is for messages only.

    Raises:
        UnreadableImageError: as for ``read_image``; also where a value is NaN or infinite.
    """
    samples = decode_samples(data, path, megapixels)
    if samples.values.dtype.kind == "f" and not bool(np.isfinite(samples.values).all()):
        raise UnreadableImageError(path, "holds NaN or infinite values")
    return samples
