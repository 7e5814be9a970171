"""Where things are kept that must last and were not told another place."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def refusion_home() -> Path:
    """``$REFUSION_HOME``, or ``~/.refusion``; absolute, not necessarily there yet."""
    return Path(os.environ.get("REFUSION_HOME") or Path.home() / ".refusion").expanduser().resolve()


def installed_command(name: str) -> str:
    """How to call a command of this environment: by its name, or by its path inside a virtual environment, since
    whoever reads our last lines may not have activated it."""
    path = Path(sys.prefix) / "bin" / name
    return str(path) if sys.prefix != sys.base_prefix and path.exists() else name
