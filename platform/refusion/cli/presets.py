"""Presets, the settings files that the project ships: in ``jobs/presets``, or in ``share`` where it is installed."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import refusion

_PACKAGE = Path(refusion.__file__).resolve().parent
# With `pip install --target` the shared files lie beside the package.
_FOLDERS = (
    _PACKAGE.parents[1] / "jobs" / "presets",
    Path(sysconfig.get_path("data")) / "share" / "refusion" / "presets",
    _PACKAGE.parent / "share" / "refusion" / "presets",
)


def settings_file(given: Path) -> Path:
    """File that ``--config`` names: a path, or the name of a preset such as ``quick``.

    A name that is no preset stays a path, so that the error names what was given.
    """
    if given.suffix or given.exists() or len(given.parts) > 1:
        return given
    found = [folder / f"{given}.yaml" for folder in _FOLDERS if (folder / f"{given}.yaml").is_file()]
    return found[0] if found else given
