"""Options of the sources that are fused: ``--a`` and ``--b``, or ``--sources`` of a stack."""

from __future__ import annotations

import argparse
from pathlib import Path

from refusion.errors import UserError


def add_sources(parser: argparse._ActionsContainer) -> None:
    """Adds the options."""
    parser.add_argument("--a", type=Path, metavar="FILE|DIR", help="source a, or a folder of them")
    parser.add_argument("--b", type=Path, metavar="FILE|DIR", help="source b, or a folder of them")
    parser.add_argument(
        "--sources", nargs="+", default=[], type=Path, metavar="F",
        help="instead of both: the exposures (MEIF) or focal planes (MFIF) of a stack, files or folders",
    )  # fmt: skip


def take_sources(options: argparse.Namespace, task: str) -> None:
    """Makes the first two of ``--sources`` a and b, and leaves ``sources`` empty where there are no more.

    Raises:
        UserError: neither form is whole, both are given, the task does not fuse so many, or options are of pairs only.
    """
    if not options.sources:
        for name in "ab":
            if getattr(options, name) is None:
                raise UserError(f"--{name} is missing: give --a and --b, or --sources F1 F2 F3 …")
        return
    if options.a is not None or options.b is not None:
        raise UserError("--sources goes without --a and --b: name all sources by it")
    if len(options.sources) == 1:
        raise UserError(f"--sources {options.sources[0]}: name two sources or more")
    options.a, options.b = options.sources[:2]
    if len(options.sources) == 2:
        options.sources = []
        return
    from refusion.stacks import check_count

    check_count(task, len(options.sources))
    for name in ("map", "adapt"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name}: is for pairs, not for stacks; leave it out, or give --a and --b")
