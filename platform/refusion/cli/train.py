"""Meta-train the fusion tasks on a Ray cluster and record them in MLflow.

python jobs/train_all_tasks.py                                              # this machine, built-in scenes
ray job submit -- python jobs/train_all_tasks.py --data /data/fusion        # a cluster, your own pairs
ray job submit -- python jobs/train_all_tasks.py --data /data/fusion --gpu --workers 4 --images.batch 8
python jobs/train_all_tasks.py --preset quick --tasks IVIF --schedule.rate 2e-4
python jobs/train_all_tasks.py --resume 20260131-120000-ab12                # go on where it was stopped
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from refusion.cli.options import (
    Parser,
    add_job_options,
    add_plain_options,
    add_preset_option,
    given_job_options,
    given_options,
    parse_dotted,
    settings_help,
)
from refusion.config.layers import read_settings_file
from refusion.config.presets import read_preset, settings_file
from refusion.runtime.console import console
from refusion.training.job import train_all
from refusion.training.manifest import RunRequest


def train_all_tasks(arguments: Sequence[str], description: str) -> int:
    """Read the options, train, and return the exit status.

    Raises:
        UserError: the request or the data is at fault.
    """
    return train_all(read_request(arguments, description), console())


def read_request(arguments: Sequence[str], description: str = "") -> RunRequest:
    """Reads the request: a preset first, a settings file over it, then plain options, then ``--section.key``.

    Raises:
        UserError: an option is unknown or lacks its value.
    """
    parser = Parser(
        description=description,
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE.yaml",
        help="settings to lay over the defaults, or a preset's name",
    )
    add_preset_option(parser)
    add_plain_options(parser)
    add_job_options(parser, "run")
    parser.add_argument("--start", metavar="KIND", help="short for --network.start: average, random or pretrained")
    options, rest = parser.parse_known_args(list(arguments))
    changes = [read_preset(options.preset)] if options.preset else []
    changes += [read_settings_file(settings_file(options.config))] if options.config else []
    changes += [{"network": {"start": options.start}}] if options.start else []
    changes += [given_options(options), *parse_dotted(rest)]
    return RunRequest(changes, **given_job_options(options))
