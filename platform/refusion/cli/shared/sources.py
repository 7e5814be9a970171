"""Options of reading sources, the same in every job: ``--range``, ``--max-megapixels``, ``--skip-bad-pairs``."""

from __future__ import annotations

import argparse

from refusion.config.ranges import AUTO, DEFAULT_MEGAPIXELS, RANGE_FORMS, Reading, parse_ranges


def add_source_options(parser: argparse._ActionsContainer) -> None:
    """Adds the options."""
    parser.add_argument(
        "--range", nargs="+", default=[AUTO], metavar="RULE",
        help=f"values that become black and white: {RANGE_FORMS}; a=RULE b=RULE for each source [{AUTO}]",
    )  # fmt: skip
    parser.add_argument(
        "--max-megapixels", type=_megapixels, default=DEFAULT_MEGAPIXELS, metavar="N",
        help="pixels that a picture may have, in millions, and bytes eight times that [%(default)g]",
    )  # fmt: skip
    parser.add_argument("--skip-bad-pairs", action="store_true", help="leave out the pairs that are found bad")


def reading_from(options: argparse.Namespace) -> Reading:
    """Returns the settings of reading that were given.

    Raises:
        UserError: a range is none.
    """
    return Reading(parse_ranges(" ".join(options.range)), options.max_megapixels)


def _megapixels(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


_megapixels.__name__ = "number"
