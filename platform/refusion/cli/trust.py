"""Whose code may be run: the options by which a user trusts a checkpoint's network."""

from __future__ import annotations

import argparse


def add_trust_options(parser: argparse._ActionsContainer) -> None:
    """Adds ``--trust-code`` and ``--network.kind`` for commands that load checkpoints."""
    parser.add_argument(
        "--trust-code", action="store_true", help="run the code that a checkpoint's network.kind names, whatever it is"
    )
    parser.add_argument(
        "--network.kind",
        dest="network_kinds",
        action="append",
        default=[],
        metavar="module:Class",
        help="run this code, and no other, where a checkpoint names it; may be given again",
    )


def trusted_code(options: argparse.Namespace) -> bool | tuple[str, ...]:
    """Returns true for any code, or the import paths that the user has named."""
    return True if options.trust_code else tuple(options.network_kinds)
