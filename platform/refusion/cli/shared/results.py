"""Options of the pictures that fusing writes: format, depth, colour, stretch."""

from __future__ import annotations

import argparse

from refusion.errors import UserError
from refusion.fusing.results import FORMAT_SUFFIXES, ResultOptions


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
