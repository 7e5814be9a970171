"""A row of pictures per task: sources, ours, published and the best baseline, on the pair where they differ most.

python jobs/evaluate.py --task IVIF --data DATA --checkpoint ours=pretrained --checkpoint published=ReFusion_IVIF.pth \\
    --baseline max --baseline guided --save fused --out scores.csv
python analysis/gallery.py --task IVIF --data DATA --scores scores.csv --pictures fused --out gallery/IVIF.png

The part of the picture in which the methods differ most is framed and shown magnified.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.cli.options import Parser
from refusion.errors import UserError
from refusion.tasks import find_task


def gallery(arguments: Sequence[str], description: str) -> int:
    """Write the row of pictures; returns the exit status.

    Raises:
        UserError: the scores or a picture are at fault.
    """
    parser = Parser(description)
    parser.add_argument("--task", required=True, metavar="T", help="fusion task")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with TASK/SPLIT/{a,b}, or 'builtin'")
    parser.add_argument("--split", default="val", help="which pairs [val]")
    parser.add_argument("--scores", required=True, type=Path, metavar="FILE.csv", help="scores of several methods")
    parser.add_argument("--pictures", required=True, type=Path, metavar="DIR", help="what evaluate.py --save made")
    parser.add_argument(
        "--methods", nargs="+", default=["ours", "published"], metavar="NAME", help="shown [ours published]"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="the row of pictures")
    options = parser.parse_args(list(arguments))
    task = find_task(options.task).name
    from refusion.results.pictures import gallery_of
    from refusion.results.scores import read_score_file

    methods = read_score_file(options.scores)
    name, png = gallery_of(task, options.data, options.split, methods, options.pictures, options.methods)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(png)
    except OSError as error:
        raise UserError(f"--out {options.out}: cannot be written ({error.strerror})") from error
    print(f"{task}, pair {name}: {options.out.resolve()}")
    return 0
