"""Options of finding and reading sources, the same in every job, such as ``--map`` and ``--range``."""

from __future__ import annotations

import argparse

from refusion.cli.options import more_than_zero
from refusion.config.arrangement import arrangement_of
from refusion.config.ranges import AUTO, DEFAULT_MEGAPIXELS, RANGE_FORMS, Reading, parse_ranges


def add_source_options(
    parser: argparse._ActionsContainer, skip_bad: str = "leave out the pairs that are found bad"
) -> None:
    """Adds the options; ``skip_bad`` is the help text of ``--skip-bad-pairs``."""
    parser.add_argument("--map", metavar="a=A,b=B", help="folders or parts of names of the sources, as in a=ir,b=vis")
    parser.add_argument(
        "--range", nargs="+", default=[AUTO], metavar="RULE",
        help=f"values that become black and white: {RANGE_FORMS}; a=RULE b=RULE for each source [{AUTO}]",
    )  # fmt: skip
    parser.add_argument(
        "--max-megapixels", type=more_than_zero, default=DEFAULT_MEGAPIXELS, metavar="N",
        help="pixels that a picture may have, in millions, and bytes eight times that [%(default)g]",
    )  # fmt: skip
    parser.add_argument("--skip-bad-pairs", action="store_true", help=skip_bad)


def reading_from(options: argparse.Namespace) -> Reading:
    """Returns the settings of finding and reading sources that were given.

    ``split``, where the command has it, is a split's name, or the shares to divide into, of which val is then meant.

    Raises:
        UserError: one cannot be understood.
    """
    split = getattr(options, "split", "")
    arrangement = arrangement_of(options.map, split if split and "=" in split else None, whole=split is None)
    return Reading(parse_ranges(" ".join(options.range)), options.max_megapixels, arrangement)
