"""Code from outside of this package that settings name: a resumed job runs it only if the user names it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refusion.config.layers import PER_TASK
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.import_path import is_import_path

CODE_SETTINGS = (
    "network.kind",
    "network.loss_proposal_kind",
    "network.reconstruction_kind",
    "objective.kind",
    "objective.reward",
)
"""Settings whose value may be the import path of a class or a function."""


def named_code(settings: Settings) -> list[str]:
    """Returns the options that name a job's code from outside of this package, with their values.

    >>> named_code(Settings.model_validate({"objective": {"kind": "my_losses:edges"}}))
    ['--objective.kind', 'my_losses:edges']
    """
    return [word for name, path in _code_in(settings.model_dump()) for word in (f"--{name}", path)]


def refuse_unnamed_code(
    resume: str, before: Settings, changes: Sequence[Mapping[str, Any]], space: Mapping[str, Any] | None = None
) -> None:
    """Refuse to go on with code that only the run's own folder names, which may have come from elsewhere.

    Args:
        resume: name of the run or sweep.
        before: its settings.
        changes: settings that the user gives with the resumption.
        space: of a sweep, as plain values.

    Raises:
        UserError: some code is not among the changes; says which options name it.
    """
    given = {pair for change in changes for pair in _code_in(change)}
    named = (*_code_in(before.model_dump()), *_code_in_space(space or {}))
    unnamed = [pair for pair in named if pair not in given]
    if unnamed:
        options = " ".join(f"--{name} {path}" for name, path in dict.fromkeys(unnamed))
        raise UserError(
            f"--resume {resume}: runs code from outside of this package, which its folder alone must not choose; if "
            f"you trust it, name it again: {options}"
        )


def _code_in(settings: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name in CODE_SETTINGS:
        section, _, key = name.partition(".")
        inner = settings.get(section)
        path = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(path, str) and is_import_path(path):
            yield name, path
    for task, own in (settings.get(PER_TASK) or {}).items():
        if isinstance(own, Mapping):
            yield from ((f"per_task.{task}.{name}", path) for name, path in _code_in(own))


def _code_in_space(space: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name in CODE_SETTINGS:
        parameter = space.get(name, ())
        choices = parameter.get("choices", ()) if isinstance(parameter, Mapping) else parameter
        yield from ((name, path) for path in choices if isinstance(path, str) and is_import_path(path))
