"""``--check`` of every job: the data are checked as the job would, and nothing else is done."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from refusion.config.layers import check
from refusion.config.ranges import Reading
from refusion.errors import UserError

_OPTION = "--check"


def add_check_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option."""
    parser.add_argument(_OPTION, action="store_true", help="check the data as the job would, and do nothing else")


def without_check(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Returns true where the option is among the arguments, and the others.

    >>> without_check(["--data", "builtin", "--check"])
    (True, ['--data', 'builtin'])
    """
    rest = [argument for argument in arguments if argument != _OPTION]
    return len(rest) < len(arguments), rest


def check_settings(changes: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None, resume: str | None) -> int:
    """Checks the data of a training or a sweep; returns the exit status.

    Args:
        changes: settings, each laid over what came before.
        tasks: names of tasks; None for those that the data has.
        resume: name of the run to resume, which has no data of its own to be named.

    Raises:
        UserError: the request is at fault, or pairs are bad.
    """
    if resume is not None:
        raise UserError("--check goes with --data, not with --resume, which checks that the data are the same anyway")
    settings = check(changes)
    from refusion.images.dataset import reading_of, tasks_of
    from refusion.inspection.checking import check_data

    named = list(tasks) if tasks else tasks_of(settings.data)
    check_data(settings.data, named, reading_of(settings), skip_bad=settings.skip_bad_pairs, say=_say(), training=True)
    return 0


def check_split(data: str, task: str, split: str, reading: Reading, *, skip_bad: bool) -> int:
    """Checks one split of a data set; returns the exit status.

    Raises:
        UserError: there is no such data, or pairs are bad.
    """
    from refusion.inspection.checking import check_data

    check_data(data, [task], reading, skip_bad=skip_bad, say=_say(), splits=[split])
    return 0


def check_folders(
    a: Path, b: Path, task: str, reading: Reading, sources: Sequence[Path] = (), *, skip_bad: bool
) -> int:
    """Checks two files or folders, or the ``sources`` of stacks; returns the exit status.

    Raises:
        UserError: there are no such sources, or pairs are bad.
    """
    from refusion.images.pair_check import check_sources
    from refusion.inspection.checking import refuse_bad, tell_checked

    if sources:
        from refusion.images.stacks.stack import check_stacks

        checked = check_stacks(sources, task, reading=reading)
    else:
        checked = check_sources(a, b, task, reading=reading)
    tell_checked(task, checked, _say())
    refuse_bad([checked], skip_bad=skip_bad)
    return 0


def _say() -> Callable[[str], None]:
    from rich.console import Console

    return partial(Console().print, markup=False, soft_wrap=True, highlight=False)
