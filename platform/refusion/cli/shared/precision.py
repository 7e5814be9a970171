"""Option ``--precision`` of commands that run trained modules."""

from __future__ import annotations

import argparse
from typing import get_args

from refusion.config.precision import InferencePrecision
from refusion.errors import UserError

_PRECISIONS = get_args(InferencePrecision)


def add_precision_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option."""
    parser.add_argument(
        "--precision",
        choices=_PRECISIONS,
        default=_PRECISIONS[0],
        help="tf32: a GPU computes faster, and differs from the CPU by up to a grey level [%(default)s]",
    )


def check_precision(precision: str, on_gpu: bool, option: str) -> None:
    """Checks that TF32 is asked for only of a GPU, which ``option`` names.

    Raises:
        UserError: a CPU has none.
    """
    if precision == "tf32" and not on_gpu:
        raise UserError(f"--precision tf32: a CPU has no TF32; add {option}, or leave --precision out")
