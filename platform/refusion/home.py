"""Where things are kept that must last and were not told another place."""

from __future__ import annotations

import os
from pathlib import Path


def refusion_home() -> Path:
    """``$REFUSION_HOME``, or ``~/.refusion``; absolute, not necessarily there yet."""
    return Path(os.environ.get("REFUSION_HOME") or Path.home() / ".refusion").expanduser().resolve()
