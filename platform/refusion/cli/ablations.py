"""Ablations: train the same settings with one thing changed, per task and seed, and score the val pairs.

python analysis/ablations.py --task IVIF --data DATA --config results --out ablations
python analysis/ablations.py --task IVIF MFIF --data DATA --config results --variants half saliency --equal time \\
    --processes 2 --out ablations
python analysis/ablations.py --task MEIF --data DATA --config results --device cuda --out ablations
python analysis/ablations.py --task MIF --data DATA --config analysis/results/ablations.yaml --known \\
    analysis/results/ablations.csv --out ablations

What is finished is skipped, and what was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refusion.ablations.variants import VARIANTS, find_variants
from refusion.cli.options import Parser, parse_dotted
from refusion.cli.shared.config_file import config_file
from refusion.config.layers import check
from refusion.config.presets import read_config

# PyTorch takes seconds to import: only once the command line is understood.
if TYPE_CHECKING:
    from refusion.ablations.runner import Plan


def ablations(arguments: Sequence[str], description: str) -> int:
    """Read the options, train and score; returns the exit status.

    Raises:
        UserError: the request or the data is at fault.
    """
    plan = read_plan(arguments, description)
    from refusion.ablations.runner import run_ablations
    from refusion.runtime.console import console
    from refusion.runtime.lifetime.interruption import terminated_is_interrupted

    with terminated_is_interrupted():
        return run_ablations(plan, console())


def read_plan(arguments: Sequence[str], description: str = "") -> Plan:
    """Reads the request; settings as ``--section.key value`` go over those of the file, below the variants' changes.

    Raises:
        UserError: an option is unknown or lacks its value, or a setting is wrong.
    """
    parser = Parser(description, settings=True)
    parser.add_argument("--task", "--tasks", nargs="+", required=True, metavar="T", help="fusion tasks")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with TASK/{train,val}/{a,b}, or 'builtin'")
    parser.add_argument(
        "--config", type=config_file, metavar="BASE.yaml", help="settings of `learned`, or a preset's name"
    )
    names = ", ".join(VARIANTS)
    parser.add_argument(
        "--variants", nargs="+", metavar="NAME", help=f"what to compare with `learned`: {names} [all but … alone]"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="seeds [0 1 2]")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train [cpu]")
    parser.add_argument(
        "--equal",
        choices=("steps", "time"),
        default="steps",
        help="time: train variants without meta-iterations also for as long as `learned` takes [steps]",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="trainings at once on CPUs [1]")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each [1]")
    parser.add_argument(
        "--known", nargs="+", type=Path, default=[], metavar="FILE.csv",
        help="tables of earlier ablations with these settings: what stands there is not trained again",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="for checkpoints and ablations.csv")
    options, rest = parser.parse_known_args(list(arguments))
    for name in ("processes", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"argument --{name}: must be at least 1")
    changes = [read_config(options.config)] if options.config else []
    own = {
        "tasks": [str(task).upper() for task in options.task],
        "data": options.data,
        "gpu": options.device == "cuda",
    }
    base = check([*changes, *parse_dotted(rest, parser.option_names()), own])
    from refusion.ablations.runner import Plan

    return Plan(
        base=base,
        variants=find_variants(options.variants),
        seeds=list(dict.fromkeys(options.seeds)),
        out=options.out,
        equal=options.equal,
        processes=options.processes,
        threads=options.threads,
        known=options.known,
    )
