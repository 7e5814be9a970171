"""Option ``--precision`` of commands that run trained modules."""

from __future__ import annotations

import argparse
from typing import get_args

from refusion.config.precision import InferencePrecision

_PRECISIONS = get_args(InferencePrecision)


def add_precision_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option."""
    parser.add_argument(
        "--precision",
        choices=_PRECISIONS,
        default=_PRECISIONS[0],
        help="tf32: a GPU computes faster, and differs from the CPU by up to a grey level [%(default)s]",
    )
