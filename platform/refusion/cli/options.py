"""Command lines: plain options, every setting as ``--section.key value``, and the exit status."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from refusion.config.layers import leaves
from refusion.config.presets import preset_names
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.runtime.manifest import JobRequest


def run_command(command: Callable[[Sequence[str], str], int], description: str | None) -> typing.NoReturn:
    """Run a job's command and leave with its exit status: 2, without a traceback, where the user is at fault.

    Args:
        command: takes the arguments and the job file's docstring, which opens ``--help``.
        description: that docstring.
    """
    try:
        status = command(sys.argv[1:], description or "")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def parse_dotted(rest: Sequence[str]) -> list[dict[str, Any]]:
    """``--section.key value`` arguments as nested mappings, one each and in their order; values are read as YAML.

    Raises:
        UserError: an argument is no option, or an option lacks its value.
    """
    changes: list[dict[str, Any]] = []
    arguments = list(rest)
    while arguments:
        option = arguments.pop(0)
        if not option.startswith("--"):
            raise UserError(f"{option!r} is not understood: settings are written --section.key value (see --help)")
        name, equals, value = option.removeprefix("--").partition("=")
        if not equals:
            if not arguments or arguments[0].startswith("--"):
                if "." not in name:
                    raise UserError(_unknown_option(name))
                raise UserError(f"--{name} lacks its value")
            value = arguments.pop(0)
        if "." not in name:
            raise UserError(_unknown_option(name))
        try:
            change = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--{name}: the value {value!r} cannot be read") from error
        for part in reversed(name.split(".")):
            change = {part: change}
        changes.append(change)
    return changes


def _unknown_option(name: str) -> str:
    options = [leaf.replace("_", "-") for leaf, _ in leaves(Settings)] + [
        "config",
        "preset",
        "resume",
        "run-name",
        "storage",
    ]
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"there is no option --{name}" + (f"; did you mean --{near[0]}?" if near else "; --help lists all options")


def settings_help() -> str:
    """Lists all settings with their meanings and defaults, for ``--help``."""
    lines = ["settings (each as --section.key value, or for one task --per_task.TASK.section.key value):"]
    for name, field in leaves(Settings):
        if "." in name:
            default = field.default.model_dump() if isinstance(field.default, BaseModel) else field.default
            lines.append(f"  --{name}  {field.description} [{default}]")
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """argparse with our exit status and one sentence instead of the usage text."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message} (see --help)")


def add_plain_options(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add the settings outside every section, as ordinary options; each defaults to None, that is, not given.

    Args:
        without: settings for which the command has options of its own.
    """
    for name, field in leaves(Settings):
        if "." in name or name in without:
            continue
        option = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(option, action="store_true", default=None, help=field.description)
        elif bool in typing.get_args(field.annotation):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=field.description)
        elif typing.get_origin(field.annotation) is tuple:
            parser.add_argument(option, nargs="+", default=None, help=field.description)
        else:
            kind = _plain_type(field.annotation)
            parser.add_argument(option, default=None, metavar=kind, help=f"{field.description} [{field.default}]")


def add_job_options(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add the options of ``JobRequest``: where the job is kept and recorded, and how it is called or resumed.

    Args:
        parser: of the command.
        kind: "run" or "sweep".
    """
    parser.add_argument("--run-name", metavar="NAME", help=f"name of the new {kind} [date, time and four characters]")
    parser.add_argument("--storage", metavar="DIR|URI", help=f"where {kind}s are kept [$REFUSION_HOME/{kind}s]")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow's store [MLFLOW_TRACKING_URI, or a local one]")
    parser.add_argument("--experiment", metavar="NAME", help="MLflow experiment [refusion]")
    parser.add_argument("--resume", metavar="NAME", help=f"go on with this {kind}")


def add_preset_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--preset``, whose settings lie below those of ``--config`` and of the command line."""
    names = ", ".join(preset_names())
    parser.add_argument("--preset", metavar="NAME", help=f"settings that come with the project: {names} [the defaults]")


def given_job_options(options: argparse.Namespace) -> dict[str, Any]:
    """Values of the options of ``add_job_options``, None where one was not given."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(JobRequest)}


def _plain_type(annotation: Any) -> str:
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return "N" if int in members else "TEXT"


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the plain settings that were given."""
    names = [name for name, _ in leaves(Settings) if "." not in name]
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    if "tasks" in given:
        given["tasks"] = [str(task).upper() for task in given["tasks"]]
    return given


class AddMethods(argparse.Action):
    """Appends (option, value) for the option's value or for each of its values, so that options share one order."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        several = values if isinstance(values, list) else [values]
        given = [(str(option).removeprefix("--"), str(value)) for value in several]
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *given])


def positive(text: str) -> int:
    """Reads a whole number of at least 1, as the ``type`` of an option."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


# As argparse calls it in a sentence on what is no such number.
positive.__name__ = "whole number"
