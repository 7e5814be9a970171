"""Fuse your own pictures with a trained module.

python jobs/fuse.py --task IVIF --a ir.png --b visible.png --out fused                # the module that comes along
python jobs/fuse.py --checkpoint ~/.refusion/runs/NAME/IVIF/best --task IVIF --a ir.png --b visible.png --out fused
python jobs/fuse.py --checkpoint models:/refusion-IVIF@best --task IVIF --a DIR/a --b DIR/b --out fused
python jobs/fuse.py --checkpoint ReFusion_IVIF.pth --task IVIF --a DIR/a --b DIR/b --out fused --device cuda
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from refusion.cli.adapting import add_adapt_options
from refusion.cli.fusing.loaded import loaded_module
from refusion.cli.fusing.stacks import fuse_stacks, take_sources
from refusion.cli.options import Parser
from refusion.cli.shared.checking import add_check_option, check_folders
from refusion.cli.shared.results import add_result_options, result_from, write_result
from refusion.cli.shared.sources import add_source_options, reading_from
from refusion.cli.shared.store import add_store_options
from refusion.cli.trust import add_trust_options, trusted_code
from refusion.errors import UserError
from refusion.shipped import PRETRAINED
from refusion.tasks import find_task


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
        help="checkpoint folder, weight file or models:/… URI [pretrained: the module that comes along for the task]",
    )
    parser.add_argument("--task", required=True, metavar="T", help="fusion task: says what a and b are")
    parser.add_argument("--a", type=Path, metavar="FILE|DIR", help="source a, or a folder of them")
    parser.add_argument("--b", type=Path, metavar="FILE|DIR", help="source b, or a folder of them")
    parser.add_argument(
        "--sources", nargs="+", default=[], type=Path, metavar="F",
        help="instead of --a and --b: the exposures (MEIF) or focal planes (MFIF) of a stack, files or folders",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results, not a source's")
    add_source_options(parser)
    add_result_options(parser)
    add_adapt_options(parser)
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N [cpu]")
    add_store_options(parser, "MLflow's store, for models:/… and runs:/…")
    add_trust_options(parser)
    add_check_option(parser)
    options = parser.parse_args(list(arguments))
    task, reading, result = find_task(options.task), reading_from(options), result_from(options)
    take_sources(options)
    if options.sources:
        return fuse_stacks(options, task.name, reading, result)
    if options.check:
        return check_folders(options.a, options.b, task.name, reading, skip_bad=options.skip_bad_pairs)
    # PyTorch and MLflow take seconds to import: only once the command line is understood.
    from rich.console import Console

    from refusion.adapt import Adaptation, load_learned_loss
    from refusion.fuse import fuse_exact
    from refusion.images.colour import has_colour
    from refusion.images.destinations import check_destination
    from refusion.images.pair_check import check_sources
    from refusion.images.pairs import check_lines, good_pairs
    from refusion.images.store import read_pair
    from refusion.runtime.progress_bar import progress_bar

    console = Console()
    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    check_destination("--out", options.out, [options.a, options.b])
    module, about, folder = loaded_module(options, task.name)
    learned = None
    if options.adapt is not None:
        learned = load_learned_loss(folder, task.name, trust_code=trusted_code(options))
    with progress_bar("checking", console) as show:
        checked = check_sources(options.a, options.b, task.name, reading=reading, progress=show)
    pairs = good_pairs(checked, skip_bad=options.skip_bad_pairs)
    for line in check_lines(checked):
        say(line)
    targets = [result.target(options.out, pair.name) for pair in pairs]
    files = [Path(file) for pair in pairs for file in (pair.a, pair.b)]
    check_destination("--out", options.out, files, targets)
    say(f"{task.name}: fusing {len(pairs)} with {about}")
    if learned is not None:
        adaptation = Adaptation(learned, task.name, options.adapt, options.adapt_rate)
        if not options.adapt_each:
            with progress_bar("adapting", console) as show:
                module = adaptation.to_pairs(module, pairs, show)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {options.out}: the folder cannot be made ({error.strerror})") from error
    with progress_bar("fusing", console) as show:
        for done, (pair, target) in enumerate(zip(pairs, targets, strict=True), start=1):
            own = adaptation.to_pairs(module, [pair]) if learned is not None and options.adapt_each else module
            a, b = read_pair(pair)
            try:
                fused = fuse_exact(own, a, b, stretched=result.stretched, grey=result.grey)
            except UserError as error:
                raise UserError(f"{pair.a}: {error}") from error
            # The source with the colour says how it is to be shown; of two coloured ones, a.
            first, second = (pair.b, pair.a) if has_colour(b) and not has_colour(a) else (pair.a, pair.b)
            write_result(target, fused, result, Path(first), Path(second))
            show(done, len(pairs))
    say(f"{task.name}: {len(pairs)} fused in {options.out}")
    return 0
