"""Names of what a job leaves behind, a run or a sweep: a new one that is free, or one that is there to be resumed."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from pathlib import Path

from refusion.config.settings import BUILTIN, Settings
from refusion.errors import UserError
from refusion.runtime.storage import Folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_name(given: str | None, storage: Folder, kind: str) -> str:
    """The name of a new run: as given, or date, time and four characters.

    Args:
        given: what ``--run-name`` said.
        storage: where its folder will be.
        kind: what it is called in messages, "run" or "sweep".

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


def resumed_name(resume: str, given: str | None, storage: Folder, kind: str, page: str) -> str:
    """The name of a run to go on with.

    Args:
        resume: what ``--resume`` said.
        given: what ``--run-name`` said.
        storage: where its folder is.
        kind: what it is called in messages, "run" or "sweep".
        page: the file in its folder that says what it was told.

    Raises:
        UserError: there is none of that name, or ``--run-name`` says another.
    """
    if given is not None and given != resume:
        raise UserError(f"--run-name {given} and --resume {resume}: a resumed {kind} keeps its name; leave one out")
    if not _NAME.fullmatch(resume) or not (storage / resume / page).exists():
        there = [other for other in storage.names() if (storage / other / page).exists()]
        known = f"there are: {', '.join(there[-10:])}" if there else f"there are no {kind}s"
        raise UserError(f"--resume {resume}: there is no such {kind} in {storage.uri} ({known}); see also --storage")
    return resume


def with_absolute_data(settings: Settings) -> Settings:
    """Workers, trials and later resumes start in other folders."""
    if settings.data == BUILTIN:
        return settings
    return settings.model_copy(update={"data": str(Path(settings.data).expanduser().absolute())})
