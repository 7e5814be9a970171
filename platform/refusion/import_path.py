"""Import paths that a user names, ``module:attribute``, and the folders that such modules are found in."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from refusion.errors import UserError

IMPORT_FOLDERS = "REFUSION_IMPORT_FOLDERS"
"""Environment variable with the driver's import folders; workers start elsewhere and read them from it."""

_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_IMPORT_PATH = re.compile(f"{_DOTTED}:{_DOTTED}")


def is_import_path(text: str) -> bool:
    """Returns true for ``module:attribute``, both possibly dotted; imports nothing.

    >>> is_import_path("my_package.losses:edges"), is_import_path("published")
    (True, False)
    """
    return _IMPORT_PATH.fullmatch(text) is not None


def import_folders() -> list[str]:
    """Folders besides the installed packages, absolute: the job's working directory, then those on ``PYTHONPATH``."""
    handed_on = os.environ.get(IMPORT_FOLDERS)
    if handed_on:
        return handed_on.split(os.pathsep)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return list(dict.fromkeys(str(Path(folder or ".").absolute()) for folder in (".", *given)))


def import_environment() -> dict[str, str]:
    """Environment variables that let a worker in another folder import what this process can import."""
    return {IMPORT_FOLDERS: os.pathsep.join(import_folders())}


def use_import_folders() -> None:
    """Lets this process import from the import folders."""
    # Last, so that a file of the user's hides no module that others import.
    sys.path += [folder for folder in import_folders() if folder not in sys.path]


def refuse_untrusted(path: str, where: str, trust_code: bool | Collection[str]) -> None:
    """Refuse code that a file names, since whoever wrote the file chose it, unless the user has said to trust it.

    Args:
        path: import path of the code.
        where: file and setting that name it.
        trust_code: true for any code, or the import paths that are trusted.

    Raises:
        UserError: the code is not trusted.
    """
    named = trust_code if isinstance(trust_code, Collection) and not isinstance(trust_code, str) else ()
    if trust_code is not True and path not in named:
        raise UserError(
            f"{where} is {path}, code from outside of this package, which is not run unasked; if you "
            f"trust it, say --network.kind {path} or --trust-code (in Python trust_code=True)"
        )


def resolve(path: str, setting: str) -> Any:
    """Imports the module of ``path`` and returns the function or class that it names.

    Runs the module's code: call it only with a path that the user named, or has said to trust.

    Args:
        path: ``module:attribute``.
        setting: name of the setting that ``path`` is the value of, such as ``objective.kind``.

    Raises:
        UserError: ``path`` is no import path, the module cannot be imported, or it has no such function or class.

    >>> resolve("math:hypot", "objective.reward")(3.0, 4.0)
    5.0
    """
    where = f"--{setting} {path}"
    if not is_import_path(path):
        raise UserError(f"{where}: is no import path; write module:name, such as my_module:MyName")
    module_name, _, attribute = path.partition(":")
    use_import_folders()
    found = _import(module_name, where)
    file = getattr(found, "__file__", None) or "built in"
    for name in attribute.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"define {name!r} there, or name another module"
            raise UserError(f"{where}: module {module_name!r} ({file}) has no {attribute!r}; {hint}")
        found = getattr(found, name)
    if not callable(found):
        raise UserError(
            f"{where}: is of type {type(found).__name__} in {module_name!r} ({file}); name a function or a class"
        )
    return found


def _import(module_name: str, where: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            raise UserError(
                f"{where}: there is no module {missing!r} in {', '.join(import_folders())} or among the installed "
                "packages; start the job in its folder, or put that folder on PYTHONPATH"
            ) from error
        # The user's own line is the last one; a syntax error carries it in its text.
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
        text = " ".join(str(error).split())
        raise UserError(
            f"{where}: importing {module_name!r} fails with {type(error).__name__}: {text}{place}"
        ) from error
