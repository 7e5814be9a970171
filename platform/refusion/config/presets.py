"""Presets, the settings files that the project ships: in ``jobs/presets``, or in ``share`` where it is installed."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refusion.config.dotted import nested
from refusion.config.layers import check, merge, read_settings_file
from refusion.config.settings import Settings
from refusion.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
# With `pip install --target` the shared files lie beside the package.
_SHARED = (Path(sysconfig.get_path("data")) / "share" / "refusion", _PACKAGE.parent / "share" / "refusion")
_FOLDERS = (_PACKAGE.parents[1] / "jobs" / "presets", *(folder / "presets" for folder in _SHARED))
_JOBS = (_PACKAGE.parents[1] / "jobs", *(folder / "jobs" for folder in _SHARED))
# Those hold a space to search besides settings.
_SWEEPS = "sweep-"
_PUBLISHED = "published"
# Key of a preset's file that names the preset it begins with.
_BASE = "preset"


def settings_file(given: Path) -> Path:
    """File that ``--config`` names: a path, or the name of a preset such as ``quick``.

    A name that is no preset stays a path, so that the error names what was given.
    """
    if given.suffix or given.exists() or len(given.parts) > 1:
        return given
    return _found().get(given.name, given)


def jobs_folder() -> Path | None:
    """Returns the folder with the files that are submitted as jobs: the checkout's, or what was installed; or None."""
    return next((folder for folder in _JOBS if (folder / "train_all_tasks.py").is_file()), None)


def preset_names() -> list[str]:
    """Returns the names of the presets of settings, without the sweep files."""
    return [name for name in _found() if not name.startswith(_SWEEPS)]


def read_preset(name: str) -> dict[str, Any]:
    """Reads the settings of a preset, such as ``published``; those of the one that it begins with lie below its own.

    Raises:
        UserError: there is no preset of settings of that name.
    """
    if name not in preset_names():
        if name in _found():
            raise UserError(f"--preset {name}: is a sweep file; give it to jobs/sweep.py as --config {name}")
        raise UserError(f"--preset {name}: there is no such preset: choose from {', '.join(preset_names())}")
    return _over_its_base(read_settings_file(_found()[name]))


def read_config(given: Path) -> dict[str, Any]:
    """Reads the settings that ``--config`` names: a preset's, or a file's over those of the preset it begins with.

    Raises:
        UserError: there is no such file or preset, or it holds no settings.
    """
    return _over_its_base(read_settings_file(settings_file(given)))


def recorded_settings(content: Mapping[str, Any]) -> Settings:
    """Returns the settings that a run or a checkpoint has recorded, whatever the defaults have become since.

    Settings that are younger than the record were, before there were any, what ``published`` says.

    Args:
        content: of a run's ``settings``, or of a checkpoint's ``settings.yaml``.

    Raises:
        UserError: some are wrong.
    """
    return check([read_preset(_PUBLISHED), {name: value for name, value in content.items() if name != "task"}])


def _over_its_base(content: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in nested(content).items() if name != _BASE}
    return merge(read_preset(str(content[_BASE])), own) if _BASE in content else own


def _found() -> dict[str, Path]:
    """Returns the presets' files by name; those of a checkout go before installed ones."""
    return {file.stem: file for folder in reversed(_FOLDERS) for file in sorted(folder.glob("*.yaml"))}
