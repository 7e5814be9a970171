"""Audit of a reward: does the reconstruction loss prefer the pictures that quality metrics prefer?

For each way to fuse, a reconstruction module R is trained from the same start to rebuild the sources from the fused
train pictures; its loss on the val pictures is what the reward thinks of that way to fuse.

python analysis/reward_audit.py --task MFIF --data /data/fusion --reward published salient --channel-noise 0.1 \\
    --out audit.csv
python analysis/reward_audit.py --task IVIF --data /data/fusion --baseline max guided \\
    --checkpoint ours=RUN/IVIF/best --reward my_rewards:structural --width 16 32 --seeds 3 \\
    --device cuda --out audit.csv

Fits that the file already holds are not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refusion.audit.options import FitOptions
from refusion.cli.help.settings import facts_text
from refusion.cli.options import AddMethods, Parser, positive
from refusion.cli.shared.precision import add_precision_option, check_precision
from refusion.cli.shared.sources import add_source_options, reading_from
from refusion.cli.trust import add_trust_options, trusted_code

# PyTorch, Ray and MLflow take seconds to import: only once the command line is understood.
if TYPE_CHECKING:
    from refusion.audit.run import Request

_DEFAULT = FitOptions()
_SMALLEST_CROP = 16


def audit(arguments: Sequence[str], description: str) -> int:
    """Read the options, audit, and return the exit status.

    Raises:
        UserError: the request or a picture is at fault.
    """
    request = read_request(arguments, description)
    from refusion.audit.run import run_audit

    return run_audit(request)


def read_request(arguments: Sequence[str], description: str = "") -> Request:
    """Reads the request from the command line.

    Raises:
        UserError: an option is unknown, lacks its value, or has one out of its range.
    """
    given = _parser(description).parse_args(list(arguments))
    check_precision(given.precision, given.device != "cpu", "--device cuda")
    given.trust_code = trusted_code(given)
    given.reading = reading_from(given)
    del given.range, given.max_megapixels, given.map
    del given.network_kinds
    from refusion.audit.run import Request

    return Request(**vars(given))


def _parser(description: str) -> Parser:
    parser = Parser(description, epilog=f"baselines:\n{facts_text('baselines')}")
    methods = parser.add_argument_group("methods", "any number; the average and each source alone always come along")
    for option, value, text in (
        ("--baseline", "[NAME=]B", "classical methods, see below [without any method: the task's]"),
        ("--fused", "[NAME=]DIR", "fused pictures in DIR/train and DIR/val, named as their sources"),
        ("--checkpoint", "[NAME=]C", "fuse by a checkpoint folder, weight file or models:/… URI"),
    ):
        methods.add_argument(option, action=AddMethods, dest="methods", nargs="+", default=[], metavar=value, help=text)
    parser.add_argument("--task", required=True, metavar="T", help="fusion task: says what a and b are")
    parser.add_argument("--data", required=True, metavar="DIR", help="TASK/{train,val}/{a,b} in it, or builtin")
    parser.add_argument(
        "--reward", nargs="+", default=["published"], dest="rewards", metavar="R",
        help="published, salient, detail, or module:function of (rebuilt, sources) [published]",
    )  # fmt: skip
    parser.add_argument(
        "--channel-noise", nargs="+", type=_noise, default=[0.0], metavar="S",
        help="standard deviations of the noise that R sees the fused picture through, of [0, 1] [0]",
    )  # fmt: skip
    parser.add_argument("--width", nargs="+", type=_width, default=[_DEFAULT.width], metavar="N", help="of R [32]")
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="number of seeds [%(default)s]")
    parser.add_argument("--steps", type=positive, default=_DEFAULT.steps, metavar="N", help="Adam steps [%(default)s]")
    parser.add_argument("--batch", type=positive, default=_DEFAULT.batch, metavar="N", help="crops [%(default)s]")
    parser.add_argument("--crop", type=_crop, default=_DEFAULT.crop, metavar="PX", help="side of crops [%(default)s]")
    parser.add_argument("--from-fused", action="store_true", help="R begins with the fused picture")
    for split, count in (("train", 48), ("val", 1000)):
        parser.add_argument(
            f"--{split}-pairs", type=positive, default=count, metavar="N", help="at most so many [%(default)s]"
        )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: without Ray [%(default)s]")
    add_precision_option(parser)
    parser.add_argument("--workers", type=positive, metavar="N", help="fits at once, a CPU each [CPUs of the cluster]")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.csv", help="a row per fit; plots beside it")
    add_source_options(parser)
    add_trust_options(parser)
    return parser


def _crop(text: str) -> int:
    value = int(text)
    if value < _SMALLEST_CROP:
        raise argparse.ArgumentTypeError(f"must be {_SMALLEST_CROP} or more")
    return value


def _width(text: str) -> int:
    value = int(text)
    if value < 8 or value % 8:
        raise argparse.ArgumentTypeError("must be a multiple of 8, the number of attention heads")
    return value


def _noise(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError("must be between 0 and 10")
    return value


_crop.__name__ = _width.__name__ = "whole number"
_noise.__name__ = "number"
