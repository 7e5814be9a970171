"""Options by which trained modules are adapted to the pictures that they fuse."""

from __future__ import annotations

import argparse

from refusion.cli.options import more_than_zero, positive

RATE = 1e-4


def add_adapt_options(parser: argparse._ActionsContainer) -> None:
    """Adds ``--adapt``, ``--adapt-rate`` and ``--adapt-each``."""
    parser.add_argument(
        "--adapt",
        type=positive,
        metavar="N",
        help="first take N steps on these pictures with the checkpoint's loss [none]",
    )
    parser.add_argument(
        "--adapt-rate", type=more_than_zero, default=RATE, metavar="X", help="rate of those steps [%(default)s]"
    )
    parser.add_argument("--adapt-each", action="store_true", help="adapt to each pair by itself, not to all together")
