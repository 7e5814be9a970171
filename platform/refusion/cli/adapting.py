"""Options by which trained modules are adapted to the pictures that they fuse."""

from __future__ import annotations

import argparse

from refusion.cli.options import positive

RATE = 1e-4


def add_adapt_options(parser: argparse._ActionsContainer) -> None:
    """Adds ``--adapt``, ``--adapt-rate`` and ``--adapt-each``."""
    parser.add_argument(
        "--adapt",
        type=positive,
        metavar="N",
        help="first take N steps on these pictures with the checkpoint's loss [none]",
    )
    parser.add_argument("--adapt-rate", type=_rate, default=RATE, metavar="X", help="rate of those steps [%(default)s]")
    parser.add_argument("--adapt-each", action="store_true", help="adapt to each pair by itself, not to all together")


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


_rate.__name__ = "number"
