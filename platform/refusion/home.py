"""Default places of what must last: runs, the MLflow store, the builtin data."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def refusion_home() -> Path:
    """Returns ``$REFUSION_HOME``, or ``~/.refusion``; absolute, not necessarily created yet."""
    return Path(os.environ.get("REFUSION_HOME") or Path.home() / ".refusion").expanduser().resolve()


def job_command(file: str, command: str) -> list[str]:
    """Words that call a job from this folder: by its file where the package is in a checkout, else by the command.

    Args:
        file: path of the job in a checkout, such as ``jobs/sweep.py``.
        command: the subcommand of ``refusion`` that does the same.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / file).is_file():
        return [installed_command("python"), file if Path.cwd() == root else str(root / file)]
    return [installed_command("refusion"), command]


def installed_command(name: str) -> str:
    """Returns the way to call a command of this environment: its name, or its path inside a virtual environment.

    The reader of a job's last lines may not have activated that environment.
    """
    path = Path(sys.prefix) / "bin" / name
    return str(path) if sys.prefix != sys.base_prefix and path.exists() else name
