"""Fuse your own pictures with a trained module.

python jobs/fuse.py --task IVIF --a ir.png --b visible.png --out fused                # the module that comes along
python jobs/fuse.py --checkpoint ~/.refusion/runs/NAME/IVIF/best --task IVIF --a ir.png --b visible.png --out fused
python jobs/fuse.py --checkpoint models:/refusion-IVIF@best --task IVIF --a DIR/a --b DIR/b --out fused
python jobs/fuse.py --checkpoint ReFusion_IVIF.pth --task IVIF --a DIR/a --b DIR/b --out fused --device cuda
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refusion.cli.adapting import add_adapt_options
from refusion.cli.options import Parser
from refusion.cli.trust import add_trust_options, trusted_code
from refusion.errors import UserError
from refusion.shipped import PRETRAINED
from refusion.tasks import find_task

# PyTorch and MLflow take seconds to import: only once the command line is understood.
if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def fuse(arguments: Sequence[str], description: str) -> int:
    """Fuse two files, or all pairs of equal stems of two folders; returns the exit status.

    Raises:
        UserError: the request or a picture is at fault.
    """
    parser = Parser(description)
    parser.add_argument(
        "--checkpoint",
        default=PRETRAINED,
        metavar="C",
        help="checkpoint folder, .pth file or models:/… URI [pretrained: the module that comes along for the task]",
    )
    parser.add_argument("--task", required=True, metavar="T", help="fusion task: says what a and b are")
    parser.add_argument("--a", required=True, type=Path, metavar="FILE|DIR", help="source a, or a folder of them")
    parser.add_argument("--b", required=True, type=Path, metavar="FILE|DIR", help="source b, or a folder of them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the fused PNG files")
    add_adapt_options(parser)
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N [cpu]")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow's store, for models:/… and runs:/…")
    add_trust_options(parser)
    options = parser.parse_args(list(arguments))
    task = find_task(options.task)
    from rich.console import Console

    from refusion.adapt import Adaptation, load_learned_loss
    from refusion.evaluation.scenes import pairs_of_folders
    from refusion.fuse import fuse_pair
    from refusion.images.pairs import Pair, match_pairs
    from refusion.images.reading import write_image
    from refusion.ops.backend import configure
    from refusion.runtime.progress_bar import progress_bar
    from refusion.tracking.loading import find_checkpoint, load_module

    console = Console()
    device = _device(options.device)
    trusted = trusted_code(options)
    found = find_checkpoint(options.checkpoint, task.name, options.tracking_uri)
    checkpoint = found.folder
    module = load_module(checkpoint, trust_code=trusted).to(device)
    configure(device)
    matched = match_pairs(options.a, options.b)
    pairs: list[Pair] = []
    console.print(f"{task.name}: fusing {len(matched)} with {found.about}", markup=False, soft_wrap=True)
    if options.adapt is not None:
        learned = load_learned_loss(checkpoint, task.name, trust_code=trusted)
        adaptation = Adaptation(learned, task.name, options.adapt, options.adapt_rate)
        pairs = pairs_of_folders(options.a, options.b)
        if not options.adapt_each:
            with progress_bar("adapting", console) as show:
                module = adaptation.to_pairs(module, pairs, show)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {options.out}: the folder cannot be made ({error.strerror})") from error
    with progress_bar("fusing", console) as show:
        for done, (name, a, b) in enumerate(matched, start=1):
            each = pairs and options.adapt_each
            own = adaptation.to_pairs(module, [pairs[done - 1]]) if each else module
            sources = _sources(a, b)
            try:
                fused = fuse_pair(own, *sources)
            except UserError as error:
                raise UserError(f"{a}: {error}") from error
            write_image(options.out / f"{name}.png", fused)
            show(done, len(matched))
    console.print(f"{task.name}: {len(matched)} fused in {options.out}", markup=False, soft_wrap=True)
    return 0


def _sources(a: Path, b: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from refusion.images.reading import read_image

    sources = read_image(a), read_image(b)
    if sources[0].shape[:2] != sources[1].shape[:2]:
        (height_a, width_a), (height_b, width_b) = (source.shape[:2] for source in sources)
        raise UserError(f"{a} is {width_a}×{height_a} but {b} is {width_b}×{height_b}: sources must be of one size")
    return sources


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: choose cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: there is no CUDA device on this machine")
    return device
