"""Command lines: plain options, every setting as ``--section.key value``, and the exit status."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml

from refusion.cli.help.layout import laid_out
from refusion.cli.help.settings import allowed, default_text, settings_help
from refusion.cli.help.terms import PrintTerms
from refusion.cli.shared.store import UPGRADE
from refusion.config.layers import leaves
from refusion.config.presets import preset_names
from refusion.config.settings import Settings
from refusion.errors import MachineError, UserError
from refusion.runtime.lifetime.leaving import leave_at_once, uses_ray

_MACHINES = "machines"
# Plain settings by the title under which ``--help`` lists them; the others come under the last.
_GROUPS = {
    "data": ("tasks", "data", "map", "split", "range", "max_megapixels", "skip_bad_pairs", "seed"),
    _MACHINES: (),
}
_DEFAULTS = {"tasks": "those that the data has"}
_WRITTEN = {"data": "DIR|builtin"}
# Fields of runtime.manifest.JobRequest, which takes a second to import.
_JOB_OPTIONS = {
    "run_name": ("NAME", "name of the new {kind} [date, time and four characters]"),
    "storage": ("DIR|URI", "where {kind}s are kept [$REFUSION_HOME/{kind}s]"),
    "tracking_uri": ("URI", "MLflow's store [MLFLOW_TRACKING_URI, or a local one]"),
    "experiment": ("NAME", "MLflow experiment [refusion]"),
    "resume": ("NAME", "go on with this {kind}"),
}
_JOB_FLAGS = ("upgrade_store", "allow_changed_data")


# Ray's job server sets it for what it starts.
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def run_command(command: Callable[[Sequence[str], str], int], description: str | None) -> typing.NoReturn:
    """Run a job's command and leave with its exit status: 2, without a traceback, where the user is at fault.

    Args:
        command: takes the arguments and the job file's docstring, which opens ``--help``.
        description: that docstring.
    """
    print_with_replacements()
    # Not imported here: its import changes what Ctrl-C does.
    if (early := sys.modules.get("refusion.cli.early")) is not None:
        early.a_command_begins()
    try:
        status = command(sys.argv[1:], description or "")
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt as error:
        with suppress(OSError):
            print("interrupted", file=sys.stderr)
        status = int(getattr(error, "status", 130))
        if uses_ray():
            leave_at_once(status)
    except BrokenPipeError:
        # Nobody reads on, as behind `| head`; nor may Python try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 130
    sys.exit(status)


def print_with_replacements() -> None:
    """Makes stdout and stderr print a question mark for what their encoding lacks, as ASCII lacks a dash.

    In a job that was submitted to a cluster they become UTF-8: Ray stops to show its log at the first other byte.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if _SUBMITTED in os.environ else None, errors="replace")


def parse_dotted(
    rest: Sequence[str], others: Collection[str] = (), instead: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """``--section.key value`` arguments as nested mappings, one each and in their order; values are read as YAML.

    Args:
        rest: the arguments.
        others: the command's own options, which one that is not understood may have meant.
        instead: settings without a dot that the command does not take, and its own option for each.

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
        if "." not in name:
            raise UserError(_unknown_option(name, others, instead or {}))
        if not equals:
            if not arguments or arguments[0].startswith("--"):
                raise UserError(f"--{name} lacks its value")
            value = arguments.pop(0)
        try:
            change = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--{name}: the value {value!r} cannot be read") from error
        for part in reversed(name.split(".")):
            change = {part: change}
        changes.append(change)
    return changes


def _unknown_option(name: str, others: Collection[str], instead: Mapping[str, str]) -> str:
    """Returns the sentence on an option that is not there: the settings of that name in sections, or similar ones."""
    settings = [leaf for leaf, _ in leaves(Settings)]
    dashed = name.replace("-", "_")
    inside = [leaf for leaf in settings if "." in leaf and leaf.rpartition(".")[2] == dashed]
    if not inside and (section := [leaf for leaf in settings if leaf.startswith(f"{dashed}.")]):
        return f"--{name} is a section of settings: write --{section[0]} and the like (see --help)"
    options = [option.removeprefix("--") for option in others] + [leaf.replace("_", "-") for leaf in settings]
    near = inside or difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if near:
        *first, last = (instead.get(leaf, f"--{leaf}") for leaf in near)
        meant = f"{', '.join(first)} or {last}" if first else last
        return f"there is no option --{name}; did you mean {meant}?"
    return f"there is no option --{name}; --help lists all options"


class Parser(argparse.ArgumentParser):
    """argparse with our exit status and one sentence instead of the usage text.

    Args:
        description: a command's docstring; its lines that are commands stand on lines of their own in ``--help``.
        settings: the command also takes settings as ``--section.key value``, which ``--help`` then lists.
        options: of argparse's own.
    """

    def __init__(self, description: str = "", *, settings: bool = False, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(description=laid_out(description).replace("%", "%%"), **options)
        self._settings = settings
        if settings:
            text = "explain L_f, L_r, β, the metrics and the other words of the display, and exit"
            self.add_argument("--help-terms", action=PrintTerms, help=text)

    def format_help(self) -> str:
        """Returns the text of ``--help``."""
        needed = [
            f"{action.option_strings[0]} {action.metavar}" if action.option_strings else str(action.metavar)
            for action in self._actions
            if action.required
        ]
        others = ["[options]", *["[--section.key value …]"] * self._settings]
        self.usage = " ".join(["%(prog)s", *needed, *others])
        if self._settings:
            self.epilog = settings_help().replace("%", "%%")
        return super().format_help()

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reads the arguments; refuses what is not understood with the option that was probably meant."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            name = rest[0].removeprefix("--").partition("=")[0]
            near = difflib.get_close_matches(f"--{name}", self.option_names(), n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "--help lists all options"
            raise UserError(
                f"there is no option --{name}; {hint}"
                if rest[0].startswith("--")
                else f"{rest[0]!r} is not understood (see --help)"
            )
        return options

    def option_names(self) -> list[str]:
        """Returns the options' long spellings."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def error(self, message: str) -> typing.NoReturn:
        """Refuses the arguments.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message} (see --help)")


def add_plain_options(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add the settings outside every section, as ordinary options; each defaults to None, that is, not given.

    Args:
        without: settings for which the command has options of its own.
    """
    groups = {title: parser.add_argument_group(title) for title in _GROUPS}
    for name, field in leaves(Settings):
        if "." in name or name in without:
            continue
        group = groups[next((title for title, names in _GROUPS.items() if name in names), _MACHINES)]
        option = f"--{name.replace('_', '-')}"
        written, limits = allowed(field)
        default = _DEFAULTS.get(name, default_text(field))
        notes = [f"[{default}]"] * bool(default) + [f"({limits})"] * bool(limits)
        text = " ".join([str(field.description), *notes]).replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(option, action="store_true", default=None, help=field.description)
        elif bool in typing.get_args(field.annotation):
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif typing.get_origin(field.annotation) is tuple:
            text = f"{text}: {written.removesuffix(' …').replace('|', ' ')}" if "|" in written else text
            group.add_argument(option, nargs="+", default=None, metavar="TASK", help=text)
        else:
            group.add_argument(option, default=None, metavar=_WRITTEN.get(name, written), help=text)


def add_job_options(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add the options of ``JobRequest``: where the job is kept and recorded, and how it is called or resumed.

    Args:
        parser: of the command.
        kind: "run" or "sweep".
    """
    group = parser.add_argument_group(f"the {kind}")
    for name, (metavar, text) in _JOB_OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text.format(kind=kind))
    group.add_argument("--upgrade-store", action="store_true", help=UPGRADE)
    if kind == "run":
        group.add_argument("--allow-changed-data", action="store_true", help="resume also where pairs have changed")


def add_preset_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--preset``, whose settings lie below those of ``--config`` and of the command line."""
    names = "|".join(preset_names())
    parser.add_argument("--preset", metavar="NAME", help=f"settings that come with the project: {names} [the defaults]")


def given_job_options(options: argparse.Namespace) -> dict[str, Any]:
    """Values of the options of ``add_job_options``, None where one was not given."""
    return {name: value for name, value in vars(options).items() if name in (*_JOB_OPTIONS, *_JOB_FLAGS)}


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


def more_than_zero(text: str) -> float:
    """Reads a finite number of more than 0, as the ``type`` of an option."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


# As argparse calls them in a sentence on what is no such number.
positive.__name__ = "whole number"
more_than_zero.__name__ = "number"
