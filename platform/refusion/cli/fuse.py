"""Fuse your own pictures with a trained module.

python jobs/fuse.py --task IVIF --a ir.png --b visible.png --out fused                # the module that comes along
python jobs/fuse.py --checkpoint ~/.refusion/runs/NAME/IVIF/best --task IVIF --a ir.png --b visible.png --out fused
python jobs/fuse.py --checkpoint models:/refusion-IVIF@best --task IVIF --a DIR/a --b DIR/b --out fused
python jobs/fuse.py --task MEIF --sources under.jpg middle.jpg over.jpg --out fused   # stacks, also of folders
python jobs/fuse.py --task IVIF --a ir.mp4 --b visible.mp4 --out fused.mp4            # videos, or folders of frames
python jobs/fuse.py --checkpoint ReFusion_IVIF.pth --task IVIF --a DIR/a --b DIR/b --out fused --device cuda
python jobs/fuse.py --task IVIF --a DIR/a --b DIR/b --out fused --workers 8                # side by side, on Ray
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.cli.adapting import add_adapt_options
from refusion.cli.options import Parser
from refusion.cli.shared.checking import add_check_option, check_folders
from refusion.cli.shared.many import add_folder_options, check_folder_options
from refusion.cli.shared.precision import add_precision_option, check_precision
from refusion.cli.shared.results import add_result_options, result_from
from refusion.cli.shared.sources import add_source_options, reading_from
from refusion.cli.shared.stacks import add_sources, take_sources
from refusion.cli.shared.store import add_store_options, upgrade_if_asked
from refusion.cli.shared.video import add_video_options, rate_from, video_is_asked
from refusion.cli.trust import add_trust_options, trusted_code
from refusion.shipped import PRETRAINED
from refusion.tasks import find_task


def fuse(arguments: Sequence[str], description: str) -> int:
    """Fuse two files, or all pairs of equal stems of two folders; returns the exit status.

    Raises:
        UserError: the request or a picture is at fault; all others have been fused unless that was not wanted.
    """
    parser = Parser(description)
    parser.add_argument(
        "--checkpoint",
        default=PRETRAINED,
        metavar="C",
        help="checkpoint folder, weight file or models:/… URI [pretrained: the module that comes along for the task]",
    )
    parser.add_argument("--task", required=True, metavar="T", help="fusion task: says what a and b are")
    add_sources(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results, or a video")
    add_source_options(parser, "bad pairs, which are left out, are no fault: the exit status is 0 [2]")
    add_result_options(parser)
    add_folder_options(parser)
    add_video_options(parser)
    add_adapt_options(parser)
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N [cpu]")
    add_precision_option(parser)
    add_store_options(parser, "MLflow's store, for models:/… and runs:/…")
    add_trust_options(parser)
    add_check_option(parser)
    options = parser.parse_args(list(arguments))
    check_folder_options(options)
    check_precision(options.precision, options.device != "cpu", "--device cuda")
    task, reading, result = find_task(options.task), reading_from(options), result_from(options)
    take_sources(options, task.name)
    video, rate = video_is_asked(options), rate_from(options)
    if options.check and not video:
        return check_folders(options.a, options.b, task.name, reading, options.sources, skip_bad=options.skip_bad_pairs)
    # PyTorch and MLflow take seconds to import: only once the command line is understood.
    from refusion.fusing.request import Request
    from refusion.fusing.run import fuse_folders
    from refusion.fusing.video import fuse_video

    trusted = trusted_code(options)
    upgrade_if_asked(options.upgrade_store, options.tracking_uri)
    request = Request(
        options.checkpoint, task.name, options.a, options.b, options.out, reading, result,
        skip_bad_pairs=options.skip_bad_pairs, stop_at_first_bad=options.stop_at_first_bad,
        overwrite=options.overwrite, adapt=options.adapt, adapt_rate=options.adapt_rate,
        adapt_each=options.adapt_each, device=options.device, precision=options.precision, workers=options.workers,
        tracking_uri=options.tracking_uri, trust_code=trusted, sources=tuple(options.sources),
    )  # fmt: skip
    return fuse_video(request, rate, check_only=options.check) if video else fuse_folders(request)
