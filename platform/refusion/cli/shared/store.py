"""Options of commands that read MLflow's store: its address, and leave to upgrade it."""

from __future__ import annotations

import argparse

UPGRADE = "upgrade an SQLite store of an older MLflow, once; a copy stays beside it"


def add_store_options(parser: argparse._ActionsContainer, what: str = "") -> None:
    """Adds ``--tracking-uri`` and ``--upgrade-store``; ``what`` is the help text of the first."""
    text = what or "MLflow's store [MLFLOW_TRACKING_URI, or a local one]"
    parser.add_argument("--tracking-uri", metavar="URI", help=text)
    parser.add_argument("--upgrade-store", action="store_true", help=UPGRADE)


def upgrade_if_asked(upgrade: bool, tracking_uri: str | None) -> None:
    """Upgrades the store where ``--upgrade-store`` was given, and prints what was done.

    Raises:
        UserError: it cannot be upgraded.
    """
    if upgrade:
        # MLflow takes seconds to import.
        from refusion.tracking.database import upgrade_database
        from refusion.tracking.store import resolve_tracking_uri

        print(upgrade_database(resolve_tracking_uri(tracking_uri)))
