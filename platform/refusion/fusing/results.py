"""The pictures that fusing writes: format, depth, colour, stretch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

# The package of images takes a second to import: only once the command line is understood.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT_SUFFIXES = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg"}


@dataclass(frozen=True)
class ResultOptions:
    """Options of the pictures that are written.

    Attributes:
        format: a key of ``FORMAT_SUFFIXES``.
        depth: bits of each value.
        grey: luminance alone.
        stretched: from least to greatest value, as the published inference does.
    """

    format: str = "png"
    depth: Literal[8, 16] = 8
    grey: bool = False
    stretched: bool = True

    def target(self, folder: Path, name: str) -> Path:
        """Returns the file of a picture of that name."""
        return folder / f"{name}{FORMAT_SUFFIXES[self.format]}"


def write_result(target: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16], first: Path, second: Path) -> None:
    """Writes a fused picture with the profile, EXIF data and resolution of its sources.

    Args:
        target: the file, whose suffix says the format.
        pixels: (H, W) or (H, W, 3).
        first, second: the sources, first the one whose data are kept where both have any.

    Raises:
        UserError: the file cannot be written.
    """
    from refusion.images.writing import Carried, read_carried, write_image

    one, other = (read_carried(source, colour=pixels.ndim == 3) for source in (first, second))
    carried = Carried(one.icc or other.icc, one.exif or other.exif, one.dpi or other.dpi)
    write_image(target, pixels, carried)
