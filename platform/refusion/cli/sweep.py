"""Search learning-rate and inner-step schedules (and more) for one fusion task or several, recorded in MLflow.

python jobs/sweep.py --task IVIF --trials 16 --data /data/fusion                  # Optuna's TPE, ASHA stops the weak
python jobs/sweep.py --task IVIF --trials 4 --scheduler pbt --data /data/fusion   # a population that changes on its way
python jobs/sweep.py --task all --search random --scheduler none                  # one schedule for all four tasks
python jobs/sweep.py --config my-space.yaml --task MIF --objective SSIM,Qabf:2    # your own space
ray job submit -- python jobs/sweep.py --task MEIF --trials 64 --gpu --gpu-per-trial 0.25 --data /data/fusion
python jobs/sweep.py --resume 20260131-120000-ab12                                # go on where it was stopped
"""

from __future__ import annotations

import argparse
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refusion.cli.help.settings import allowed, default_text
from refusion.cli.options import (
    Parser,
    add_job_options,
    add_plain_options,
    add_preset_option,
    given_job_options,
    given_options,
    parse_dotted,
)
from refusion.cli.shared.checking import add_check_option, check_settings, without_check
from refusion.cli.shared.config_file import config_file
from refusion.config.layers import check, read_settings_file
from refusion.config.presets import read_preset, settings_file
from refusion.config.settings import BUILTIN
from refusion.errors import UserError
from refusion.search.options import PBT_KINDS, SweepOptions, old_spellings, read_options, with_new_names
from refusion.tasks import TASKS

# PyTorch, Ray and MLflow take seconds to import: only once the command line is understood.
if TYPE_CHECKING:
    from rich.console import Console

    from refusion.search.manifest import SweepRequest

_SECTIONS = ("base", "space", "sweep")
# A sweep has options of its own for these.
_OWN = {"tasks": "--task", "workers": "--workers-per-trial"}
_WRITTEN = {"scheduler": "KIND", "objective": "METRICS"}


def sweep(arguments: Sequence[str], description: str) -> int:
    """Read the options, search, and return the exit status.

    Raises:
        UserError: the request or the data is at fault, or the cluster cannot hold one trial.
    """
    checking, rest = without_check(arguments)
    parts = read_parts(rest, description)
    if checking:
        return max(check_settings(part["changes"], part["options"].get("task"), part["resume"]) for part in parts)
    for part in parts:
        if part["resume"] is None:
            read_options(part["options"])
            check(part["changes"])
    requests = [_request(part) for part in parts]
    from refusion.runtime.console import console

    return max(_one_of(request, len(requests) > 1, console()) for request in requests)


def _one_of(request: SweepRequest, titled: bool, where: Console) -> int:
    from refusion.reporting.sweep_files import write_sweep_report
    from refusion.search.sweep import run_sweep

    if titled:
        where.rule(", ".join(request.options.get("task", ())) or str(request.resume))
    return run_sweep(request, where, write_sweep_report)


def read_requests(arguments: Sequence[str], description: str = "") -> list[SweepRequest]:
    """Reads the command line: one sweep, or with ``--one-per-task`` one for each task, named NAME-TASK.

    Raises:
        UserError: an option is unknown or lacks its value, or the sweep file is wrong.
    """
    return [_request(part) for part in read_parts(arguments, description)]


def _request(part: Mapping[str, Any]) -> SweepRequest:
    from refusion.search.manifest import SweepRequest

    return SweepRequest(**part)


def read_parts(arguments: Sequence[str], description: str) -> list[dict[str, Any]]:
    """Returns the arguments of each ``SweepRequest``, as `read_requests`."""
    parser = Parser(description, settings=True)
    search = parser.add_argument_group("search")
    search.add_argument(
        "--config", type=config_file, metavar="FILE.yaml", help="sweep file: space, base and sweep [a preset]"
    )
    add_preset_option(search)
    _add_own_options(search)
    search.add_argument("--one-per-task", action="store_true", help="a sweep for each task instead of one for all")
    add_plain_options(parser, without=_OWN)
    add_job_options(parser, "sweep")
    add_check_option(parser)
    options, rest = parser.parse_known_args(list(arguments))
    given = {name: getattr(options, name) for name in SweepOptions.model_fields if getattr(options, name) is not None}
    if "task" in given:
        given["task"] = _tasks(given["task"])
    changes = [given_options(options), *parse_dotted(rest, parser.option_names(), _OWN)]
    part = {"options": given, "changes": changes, "given": changes, **given_job_options(options)}
    if options.resume is None or options.config is not None:
        part = _with_file(part, options.config)
    if options.preset:
        part |= {"changes": [read_preset(options.preset), *part["changes"]], "preset": options.preset}
    return _per_task(part) if options.one_per_task else [part]


def _with_file(part: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    kind = "pbt" if part["options"].get("scheduler") in PBT_KINDS else "schedules"
    file = settings_file(config or Path(f"sweep-{kind}"))
    content = _by_section(read_settings_file(file))
    unknown = [name for name in content if name not in _SECTIONS]
    if unknown:
        raise UserError(f"--config {file}: a sweep file has the sections {', '.join(_SECTIONS)}, not {unknown[0]!r}")
    for name in _SECTIONS:
        if not isinstance(content.get(name) or {}, Mapping):
            raise UserError(f"--config {file}: {name} must be a mapping (name: …)")
    space = content.get("space") or {}
    if not space:
        raise UserError(f"--config {file}: there is no space to search; name parameters under `space:`")
    said = content.get("sweep") or {}
    own = with_new_names({str(name).replace("-", "_"): value for name, value in said.items()})
    options = {**own, **part["options"]}
    if isinstance(options.get("task"), str | list):
        options["task"] = _tasks(options["task"])
    changes = [content.get("base") or {}, *part["changes"]]
    return {**part, "options": options, "changes": changes, "space": space, "space_file": str(file)}


def _by_section(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns a sweep file's content with `base.schedule.epochs: 3` and the like put into their sections."""
    result: dict[str, Any] = {}
    for name, value in content.items():
        section, dot, rest = str(name).partition(".")
        inside = {rest: value} if dot and section in _SECTIONS else None
        old = result.get(section)
        if inside is None:
            section, inside = str(name), value
        if isinstance(old, Mapping) and isinstance(inside, Mapping):
            inside = {**old, **inside}
        result[section] = inside
    return result


def _tasks(names: str | Sequence[Any]) -> list[str]:
    upper = [str(name).upper() for name in ([names] if isinstance(names, str) else names)]
    return list(TASKS) if upper == ["ALL"] else upper


def _tasks_of_data(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    data = check(changes).data
    if data == BUILTIN:
        return list(TASKS)
    from refusion.images.dataset import tasks_of

    return tasks_of(data)


def _per_task(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    name = part["resume"] or part["run_name"]
    if name is None:
        raise UserError("--one-per-task: name the sweeps by --run-name NAME; they are called NAME-TASK")
    tasks = part["options"].get("task") or (list(TASKS) if part["resume"] else _tasks_of_data(part["changes"]))
    named = "resume" if part["resume"] else "run_name"
    return [{**part, "options": {**part["options"], "task": [task]}, named: f"{name}-{task}"} for task in tasks]


def _add_own_options(parser: argparse._ActionsContainer) -> None:
    """The sweep's options; each defaults to None, that is, not given."""
    for name, field in SweepOptions.model_fields.items():
        options = [f"--{spelling.replace('_', '-')}" for spelling in (name, *old_spellings(name))]
        written, limits = allowed(field)
        notes = [f"[{default}]" for default in [default_text(field)] if default]
        notes += [f"({limits})"] * bool(limits)
        text = " ".join([str(field.description), *notes]).replace("%", "%%")
        if typing.get_origin(field.annotation) is tuple:
            parser.add_argument(*options, dest=name, nargs="+", default=None, metavar=name.upper(), help=text)
        else:
            parser.add_argument(*options, dest=name, default=None, metavar=_WRITTEN.get(name, written), help=text)
