"""Score fused pictures, whoever made them: yours, a trained module's, a classical method's, side by side.

python jobs/evaluate.py --fused my-results --task IVIF --a DIR/ir --b DIR/vi --out scores.csv
python jobs/evaluate.py --checkpoint ~/.refusion/runs/NAME/IVIF/best --task IVIF --data builtin --out scores.csv
python jobs/evaluate.py --checkpoint ours=RUN/MIF/best --fused theirs=DIR --baseline laplacian --task MIF \\
    --data /data/fusion --metrics all --format latex --out scores.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.cli.adapting import add_adapt_options
from refusion.cli.help.settings import facts_text
from refusion.cli.options import AddMethods, Parser, positive
from refusion.cli.shared.checking import add_check_option, check_folders, check_split, without_check
from refusion.cli.shared.precision import add_precision_option, check_precision
from refusion.cli.shared.sources import add_source_options, reading_from
from refusion.cli.shared.store import add_store_options, upgrade_if_asked
from refusion.cli.trust import add_trust_options, trusted_code
from refusion.errors import UserError
from refusion.evaluation.request import FORMATS, Request
from refusion.tasks import find_task

_SPLIT = "val"


def evaluate(arguments: Sequence[str], description: str) -> int:
    """Read the options, score, and return the exit status.

    Raises:
        UserError: the request or a picture is at fault.
    """
    checking, rest = without_check(arguments)
    request = read_request(rest, description)
    if checking:
        return _check(request)
    # PyTorch, Ray and MLflow take seconds to import: only once the command line is understood.
    from refusion.evaluation.run import run_evaluation

    return run_evaluation(request)


def _check(request: Request) -> int:
    task, skip_bad = find_task(request.task).name, request.skip_bad_pairs
    if request.a is not None and request.b is not None:
        return check_folders(request.a, request.b, task, request.reading, skip_bad=skip_bad)
    return check_split(str(request.data), task, request.split, request.reading, skip_bad=skip_bad)


def read_request(arguments: Sequence[str], description: str = "") -> Request:
    """Reads the request from the command line.

    Raises:
        UserError: an option is unknown, lacks its value, or does not go with another.
    """
    given = _parser(description).parse_args(list(arguments))
    folders = (given.a is not None) + (given.b is not None)
    if (given.data is None) == (folders == 0) or folders == 1:
        raise UserError("say where the sources are: either --a DIR and --b DIR, or --data DIR (or 'builtin')")
    if given.split is not None and given.data is None:
        raise UserError("--split goes with --data; --a and --b are folders of pictures")
    if (
        given.tracking_uri is not None
        and given.experiment is None
        and not any(kind == "checkpoint" for kind, _ in given.methods)
    ):
        raise UserError("--tracking-uri goes with --experiment NAME, or with a --checkpoint in MLflow")
    check_precision(given.precision, given.gpu, "--gpu")
    given.trust_code = trusted_code(given)
    given.reading = reading_from(given)
    given.split = _SPLIT if given.split is None or "=" in given.split else given.split
    upgrade_if_asked(given.upgrade_store, given.tracking_uri)
    del given.check, given.range, given.max_megapixels, given.map
    del given.network_kinds, given.upgrade_store
    return Request(**vars(given))


def _parser(description: str) -> Parser:
    facts = f"baselines:\n{facts_text('baselines')}\n{facts_text('metrics')}"
    parser = Parser(description, epilog=facts.replace("%", "%%"))
    methods = parser.add_argument_group("methods", "any number, mixed; the first is the one others are tested against")
    for option, value, text in (
        ("--fused", "[NAME=]DIR", "fused pictures, named as their sources"),
        ("--checkpoint", "[NAME=]C", "fuse by a checkpoint folder, weight file, models:/… URI, or pretrained"),
        ("--baseline", "[NAME=]B", "fuse by a classical method, see below"),
    ):
        methods.add_argument(option, action=AddMethods, dest="methods", default=[], metavar=value, help=text)
    parser.add_argument("--task", required=True, metavar="T", help="fusion task: says what a and b are")
    parser.add_argument("--a", type=Path, metavar="DIR", help="sources a")
    parser.add_argument("--b", type=Path, metavar="DIR", help="sources b, named as those of a")
    parser.add_argument("--data", metavar="DIR", help="instead: TASK/SPLIT/{a,b} in it, a public data set, or builtin")
    parser.add_argument(
        "--split", metavar="S", help=f"which split of --data, or all, or shares (train=80%%,val=20%%) [{_SPLIT}]"
    )
    parser.add_argument("--metrics", nargs="+", metavar="M", help="see below, or all [the convention's usual ones]")
    parser.add_argument("--convention", default=Request.convention, metavar="C", help="see below [%(default)s]")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="true images, scored against as ref_METRIC")
    parser.add_argument("--align", choices=("crop",), help="let fused pictures differ from their sources by a border")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.csv", help="scores, one row per picture")
    parser.add_argument("--format", default=FORMATS[0], choices=FORMATS, help="of the printed table [%(default)s]")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write what checkpoints and baselines fuse")
    parser.add_argument("--experiment", metavar="NAME", help="record in this MLflow experiment [not recorded]")
    add_store_options(parser)
    parser.add_argument("--workers", type=positive, metavar="N", help="pictures at once [CPUs of the cluster]")
    parser.add_argument("--gpu", action="store_true", help="checkpoints fuse on GPUs")
    add_precision_option(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the intervals' bootstrap [%(default)s]")
    add_source_options(parser)
    add_check_option(parser)
    add_adapt_options(parser)
    add_trust_options(parser)
    return parser
