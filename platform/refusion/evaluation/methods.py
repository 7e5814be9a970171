"""The methods that are compared (folders of fused images, trained modules, baselines) and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from refusion.errors import UserError
from refusion.shipped import FUSION_FILE, PRETRAINED, WEIGHT_SUFFIXES
from refusion.tasks import TASKS

Kind = Literal["fused", "checkpoint", "baseline"]
_MODEL_SCHEMES = ("models:", "runs:")
# RUN/TASK/final holds a finished run's module.
_FINAL = "final"
# Ends the name of a module that is adapted to the pictures first, after the name of the same as it comes.
ADAPTED = "-adapted"


@dataclass(frozen=True)
class Method:
    """One way to fuse.

    Attributes:
        name: in tables, files and MLflow.
        kind: "fused" for the images of a folder, "checkpoint" for a trained module, "baseline" for a classical method.
        value: that folder, the checkpoint as it was given, or the baseline's name.
        adapted: a trained module, adapted to the pictures first.
    """

    name: str
    kind: Kind
    value: str
    adapted: bool = False

    @property
    def folder_name(self) -> str:
        """The name as a folder may have it."""
        return self.name.replace("/", "-")


def find_methods(given: Sequence[tuple[Kind, str]]) -> list[Method]:
    """Returns the methods of the command line, in its order.

    Args:
        given: option (without its dashes) and value; the value is ``VALUE`` or ``NAME=VALUE``.

    Raises:
        UserError: there is none, a name or value is empty, or two have one name.
    """
    if not given:
        raise UserError("give at least one of --fused DIR, --checkpoint C and --baseline NAME")
    return refuse_equal_names([_method(kind, text) for kind, text in given])


def with_adapted(methods: Sequence[Method]) -> list[Method]:
    """Returns the methods, each checkpoint followed by its adapted twin, NAME-adapted.

    Raises:
        UserError: there is no checkpoint, or a twin has the name of another method.
    """
    if all(method.kind != "checkpoint" for method in methods):
        raise UserError("--adapt goes with --checkpoint: there is no module to adapt")
    pairs = [(method, replace(method, name=f"{method.name}{ADAPTED}", adapted=True)) for method in methods]
    return refuse_equal_names([one for pair in pairs for one in (pair if pair[0].kind == "checkpoint" else pair[:1])])


def refuse_equal_names(methods: list[Method]) -> list[Method]:
    """Returns the methods, if each has a name of its own.

    Raises:
        UserError: two have one name.
    """
    for name, count in Counter(method.folder_name for method in methods).items():
        if count > 1:
            raise UserError(f"{count} methods are called {name!r}: tell them apart by NAME=VALUE")
    return methods


def _method(kind: Kind, text: str) -> Method:
    name, value = _split(text)
    if not value.strip():
        raise UserError(f"--{kind} {text!r}: the value is missing")
    chosen = name if name is not None else _own_name(kind, value)
    if not chosen.strip(" ."):
        raise UserError(f"--{kind} {text!r}: give the method a name, as in NAME=VALUE")
    return Method(chosen, kind, value)


def _split(text: str) -> tuple[str | None, str]:
    """Splits NAME=VALUE; a path that exists is a value as a whole, even with an equals sign in it."""
    name, equals, value = text.partition("=")
    if not equals or "/" in name or Path(text).expanduser().exists():
        return None, text
    return name, value


def _own_name(kind: Kind, value: str) -> str:
    if kind == "baseline":
        return value
    if kind == "fused":
        # "." and ".." have no name of their own.
        return Path(value).name.strip(".") or Path(value).resolve().name
    return _checkpoint_name(value)


def _checkpoint_name(value: str) -> str:
    """Returns RUN/TASK (with the epoch, unless it is the final one), a file's stem, or the text after models:/."""
    if value.startswith(_MODEL_SCHEMES):
        return value.partition(":")[2].strip("/")
    if value == PRETRAINED:
        return value
    name = Path(value).name
    suffix = next((suffix for suffix in WEIGHT_SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix and name != FUSION_FILE:
        return name[: -len(suffix)]
    path = Path(value).expanduser().resolve()
    folder = path.parent if suffix else path
    run_task = folder.parent
    if run_task.name in TASKS:
        run = f"{run_task.parent.name}/{run_task.name}"
        return run if folder.name == _FINAL else f"{run}/{folder.name}"
    return folder.name
