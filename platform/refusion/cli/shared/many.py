"""Options of fusing many pairs: side by side, resumed, and what a bad pair does to the others."""

from __future__ import annotations

import argparse

from refusion.cli.options import positive
from refusion.errors import UserError


def add_folder_options(parser: argparse._ActionsContainer) -> None:
    """Adds ``--workers``, ``--overwrite`` and ``--stop-at-first-bad``."""
    parser.add_argument(
        "--workers", type=positive, metavar="N",
        help="pairs at once on Ray, a CPU each [1, without Ray, on all CPUs; all CPUs of a cluster in RAY_ADDRESS]",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="fuse pictures anew that are in --out [they stay]")
    parser.add_argument(
        "--stop-at-first-bad", action="store_true",
        help="fuse nothing where a pair is found bad [the others are fused, the exit status is 2]",
    )  # fmt: skip


def check_folder_options(options: argparse.Namespace) -> None:
    """Refuses options that contradict one another.

    Raises:
        UserError: they do.
    """
    if options.skip_bad_pairs and options.stop_at_first_bad:
        raise UserError("--skip-bad-pairs and --stop-at-first-bad: say one or the other")
