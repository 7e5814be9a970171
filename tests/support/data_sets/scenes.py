"""Built-in scenes that a home has already, as from an earlier job."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from refusion.images.builtin import BUILTIN_VERSION


def put_scenes(builtin: Path, home: Path) -> None:
    """Puts the scenes where jobs of that REFUSION_HOME would make them."""
    shutil.copytree(builtin, home / f"builtin-{BUILTIN_VERSION}", copy_function=os.link)
