"""Files of a report, in the folder that ``--out`` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from refusion.errors import UserError


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write a report's files by name; the folder is made where it is not there.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {folder}: the report cannot be written ({error.strerror})") from error
