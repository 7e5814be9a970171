"""Options of the pictures that fusing writes: format, depth, colour, stretch."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from refusion.errors import UserError

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


def add_result_options(parser: argparse._ActionsContainer) -> None:
    """Adds the options."""
    parser.add_argument("--format", choices=tuple(FORMAT_SUFFIXES), default="png", help="of the results [%(default)s]")
    parser.add_argument("--depth", type=int, choices=(8, 16), default=8, help="bits of each value [%(default)s]")
    parser.add_argument("--grey", action="store_true", help="write luminance alone, without colour")
    parser.add_argument(
        "--stretch", action=argparse.BooleanOptionalAction, default=True,
        help="stretch each result to the whole range, as the published inference does [stretch]",
    )  # fmt: skip


def result_from(options: argparse.Namespace) -> ResultOptions:
    """Returns the options that were given.

    Raises:
        UserError: they do not go together.
    """
    if options.format == "jpeg" and options.depth == 16:
        raise UserError("--depth 16: a JPEG has 8 bits; choose --format png or tiff")
    return ResultOptions(options.format, 16 if options.depth == 16 else 8, options.grey, options.stretch)


def write_result(target: Path, levels: NDArray[np.float32], options: ResultOptions, first: Path, second: Path) -> None:
    """Writes a fused picture with the profile, EXIF data and resolution of its sources.

    Args:
        target: the file.
        levels: (H, W) or (H, W, 3) around 0–255, not rounded.
        options: depth; the format is the file's.
        first, second: the sources, first the one whose data are kept where both have any.

    Raises:
        UserError: the file cannot be written.
    """
    from refusion.images.writing import Carried, read_carried, to_depth, write_image

    one, other = (read_carried(source, colour=levels.ndim == 3) for source in (first, second))
    carried = Carried(one.icc or other.icc, one.exif or other.exif, one.dpi or other.dpi)
    write_image(target, to_depth(levels, options.depth), carried)
