"""Meta-train the fusion tasks on a Ray cluster and record them in MLflow.

python jobs/train_all_tasks.py                                              # this machine, built-in scenes
ray job submit -- python jobs/train_all_tasks.py --data /data/fusion        # a cluster, your own pairs
ray job submit -- python jobs/train_all_tasks.py --data /data/fusion --gpu --workers 4 --images.batch 8
python jobs/train_all_tasks.py --preset quick --tasks IVIF --schedule.rate 2e-4
python jobs/train_all_tasks.py --resume 20260131-120000-ab12                # go on where it was stopped
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
from refusion.config.layers import check
from refusion.config.presets import read_config, read_preset

# PyTorch, Ray and MLflow take seconds to import: only once the command line is understood.
if TYPE_CHECKING:
    from refusion.training.manifest import RunRequest


def train_all_tasks(arguments: Sequence[str], description: str) -> int:
    """Read the options, train, and return the exit status.

    Raises:
        UserError: the request or the data is at fault.
    """
    checking, rest = without_check(arguments)
    request = read_request(rest, description)
    if checking:
        named = any("tasks" in change for change in request.changes)
        return check_settings(request.changes, check(request.changes).tasks if named else None, request.resume)
    from refusion.reporting.comparison.at_end import write_report
    from refusion.runtime.console import console
    from refusion.training.job import train_all

    return train_all(request, console(), write_report)


def read_request(arguments: Sequence[str], description: str = "") -> RunRequest:
    """Reads the request: a preset first, a settings file over it, then plain options, then ``--section.key``.

    Raises:
        UserError: an option is unknown or lacks its value.
    """
    parser = Parser(description, settings=True)
    files = parser.add_argument_group("settings from a file, below those of the command line")
    files.add_argument("--config", type=config_file, metavar="FILE.yaml", help="settings, or a preset's name")
    add_preset_option(files)
    add_plain_options(parser)
    add_job_options(parser, "run")
    add_check_option(parser)
    start = parser.add_argument_group("short for a setting")
    start.add_argument("--start", metavar="average|random|pretrained", help="--network.start")
    options, rest = parser.parse_known_args(list(arguments))
    changes = [read_preset(options.preset)] if options.preset else []
    changes += [read_config(options.config)] if options.config else []
    changes += [{"network": {"start": options.start}}] if options.start else []
    changes += [given_options(options), *parse_dotted(rest, parser.option_names())]
    if options.resume is None:
        check(changes)
    from refusion.training.manifest import RunRequest

    return RunRequest(changes, **given_job_options(options))
