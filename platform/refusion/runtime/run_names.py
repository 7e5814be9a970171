"""Names of runs and sweeps: a new one that is free, or an existing one that is to be resumed."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from pathlib import Path

from refusion.buckets.filesystem import is_in_s3
from refusion.config.settings import BUILTIN, Settings
from refusion.errors import UserError
from refusion.runtime.storage import Folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_name(given: str | None, storage: Folder, kind: str) -> str:
    """Name of a new run: as given, or date, time and four characters.

    Args:
        given: value of ``--run-name``.
        storage: folder that will hold its own.
        kind: its name in messages, "run" or "sweep".

    Raises:
        UserError: the name is unfit or taken.
    """
    name = given or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if not _NAME.fullmatch(name):
        raise UserError(f"--run-name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit")
    if (storage / name).exists():
        raise UserError(
            f"--run-name {name}: there is a {kind} of this name in {storage.uri}; choose another name, "
            f"or go on with that {kind} by --resume {name}"
        )
    return name


def resumed_name(resume: str, given: str | None, storage: Folder, kind: str, file: str) -> str:
    """Name of a run to go on with.

    Args:
        resume: value of ``--resume``.
        given: value of ``--run-name``.
        storage: folder that holds its own.
        kind: its name in messages, "run" or "sweep".
        file: name of the manifest in its folder.

    Raises:
        UserError: there is none of that name, or ``--run-name`` says another.
    """
    if given is not None and given != resume:
        raise UserError(f"--run-name {given} and --resume {resume}: a resumed {kind} keeps its name; leave one out")
    if not _NAME.fullmatch(resume) or not (storage / resume / file).exists():
        there = [other for other in storage.names() if (storage / other / file).exists()]
        known = f"there are: {', '.join(there[-10:])}" if there else f"there are no {kind}s"
        raise UserError(f"--resume {resume}: there is no such {kind} in {storage.uri} ({known}); see also --storage")
    return resume


def with_absolute_data(settings: Settings) -> Settings:
    """Returns the settings with an absolute ``data``: workers, trials and later resumes start in other folders."""
    if settings.data == BUILTIN or is_in_s3(settings.data):
        return settings
    return settings.model_copy(update={"data": str(Path(settings.data).expanduser().absolute())})
