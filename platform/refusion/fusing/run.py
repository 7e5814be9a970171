"""A fusing from its request to its pictures: check everything first, then make what is missing, and list it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from refusion.adapt import Adaptation, load_learned_loss
from refusion.errors import UserError
from refusion.fusing.maker import Made, Maker, WorkItem, make, remove_parts
from refusion.fusing.manifest import BAD, LIST_FILE, FusedList, Row, opened
from refusion.fusing.plan import bad_rows, common_row, is_there, plan, rows_of
from refusion.fusing.request import Request
from refusion.images.destinations import check_destination
from refusion.images.pair_check import check_sources
from refusion.images.pairs import Checked, Pair, check_lines, good_pairs
from refusion.images.stacks.stack import check_stacks
from refusion.ops.backend import configure
from refusion.runtime.lifetime.interruption import terminated_is_interrupted
from refusion.runtime.progress_bar import progress_bar
from refusion.stacks import said_order
from refusion.tracking.loading import find_checkpoint, load_module

_MOST_LISTED = 50
Say = Callable[[str], None]


def fuse_folders(request: Request) -> int:
    """Fuses two files, or all pairs of two folders; returns the exit status.

    Pictures that are there stay, unless they are to be overwritten. A bad pair is left out, listed, and told at the
    end.

    Raises:
        UserError: the request is at fault; or pairs are bad, of which all others have been fused unless
            ``stop_at_first_bad``.
    """
    console = Console()
    say: Say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    out = request.out.expanduser().absolute()
    request = replace(request, out=out)
    check_destination("--out", out, request.sources or [request.a, request.b])
    on_ray = _on_ray(request)
    device = find_device(request.device, on_ray=on_ray)
    found = find_checkpoint(request.checkpoint, request.task, request.tracking_uri)
    module = load_module(found.folder, trust_code=request.trust_code)
    adaptation = None
    if request.adapt is not None:
        learned = load_learned_loss(found.folder, request.task, trust_code=request.trust_code)
        adaptation = Adaptation(learned, request.task, request.adapt, request.adapt_rate)
    checked = _checked(request, console)
    targets = [request.results.target(out, pair.name) for pair in checked.pairs]
    files = [Path(file) for pair in checked.pairs for file in pair.files]
    check_destination("--out", out, files, targets)
    for line in check_lines(checked):
        say(line)
    common = common_row(request, found.about, found.folder.expanduser(), checked.pairs)
    rows = rows_of(checked.pairs, checked.facts, request, common)
    bad = bad_rows(checked, request)
    with terminated_is_interrupted(), opened(out) as listed:
        todo = plan(rows, listed.rows, request)
        remove_parts(out)
        for row in todo.unknown:
            listed.add(row)
        for row in bad:
            _list_bad(listed, row, out)
        stays = f"; {todo.there} there already, which --overwrite would fuse anew" if todo.there else ""
        say(f"{request.task}: fusing {len(todo.to_make)} with {found.about}{stays}")
        if request.sources:
            say(f"{request.task}: stacks of {len(request.sources)} are fused {said_order(request.task)}")
        pairs = [checked.pairs[index] for index in todo.to_make]
        of_each = adaptation if request.adapt_each else None
        maker = Maker(module, request.results, of_each, request.task, request.precision)
        if adaptation is not None and not request.adapt_each and pairs:
            configure(device, precision=request.precision)
            maker = replace(maker, module=_adapted(module, adaptation, checked.pairs, device, console))
        with _told_how_to_go_on(request, say), progress_bar("fusing", console) as show:
            failed = _make_all(maker, pairs, [rows[index] for index in todo.to_make], request, listed, show, say)
    bad += failed
    done = len(todo.to_make) - len(failed)
    counts = [f"{done} fused", *([f"{todo.there} there already"] if todo.there else [])]
    counts += [f"{len(bad)} bad"] if bad else []
    say(f"{request.task}: {', '.join(counts)} in {out}; {LIST_FILE} there says what was made of what")
    if bad and not request.skip_bad_pairs:
        raise _bad_pairs_error(bad)
    return 0


def _checked(request: Request, console: Console) -> Checked:
    with progress_bar("checking", console) as show:
        if request.sources:
            checked = check_stacks(request.sources, request.task, reading=request.reading, progress=show)
        else:
            checked = check_sources(request.a, request.b, request.task, reading=request.reading, progress=show)
    if request.stop_at_first_bad or not checked.pairs:
        good_pairs(checked, skip_bad=request.skip_bad_pairs)
    return checked


def _on_ray(request: Request) -> bool:
    """Returns True where pairs are spread over Ray: several workers are asked for, or a cluster is named."""
    if request.workers is not None:
        return request.workers > 1
    # Set by `ray job submit`, too.
    return bool(os.environ.get("RAY_ADDRESS"))


def find_device(name: str, *, on_ray: bool) -> str:
    """Returns the device of this process.

    Raises:
        UserError: there is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: choose cpu, cuda or cuda:N") from error
    if on_ray:
        if ":" in name:
            raise UserError(f"--device {name}: workers take the GPUs that Ray gives them; write --device {device.type}")
        return name if torch.cuda.is_available() else "cpu"
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: there is no CUDA device on this machine")
    return name


def _adapted(
    module: nn.Module, adaptation: Adaptation, pairs: Sequence[Pair], device: str, console: Console
) -> nn.Module:
    with progress_bar("adapting", console) as show:
        return adaptation.to_pairs(module.to(device), pairs, show).cpu()


def _make_all(
    maker: Maker,
    pairs: Sequence[Pair],
    rows: Sequence[Row],
    request: Request,
    listed: FusedList,
    show: Callable[[int, int | None], None],
    say: Say,
) -> list[Row]:
    """Makes pictures beside their places, lists each and puts it there; returns the rows of those that are bad."""
    items = [WorkItem(pair, request.out / row.output) for pair, row in zip(pairs, rows, strict=True)]
    bad: list[Row] = []
    with closing(_results(maker, items, request, show)) as results:
        for done, (index, made) in enumerate(results, start=1):
            row = replace(rows[index], seconds=f"{made.seconds:.3f}")
            if made.bad:
                if made.fault:
                    raise UserError(made.bad)
                say(f"left out: {made.bad}")
                row = replace(row, state=f"{BAD}: {made.bad}")
                bad.append(row)
                _list_bad(listed, row, request.out)
                if request.stop_at_first_bad:
                    raise UserError(f"{made.bad} (stopped here by --stop-at-first-bad)")
            else:
                # Listed first: a picture in its place is always one that the list knows.
                listed.add(row)
                _put(items[index])
            show(done, len(items))
    return bad


def _list_bad(listed: FusedList, row: Row, out: Path) -> None:
    """Lists a bad pair, unless an older picture is there: then its row goes on to tell what that was made of."""
    if not is_there(out / row.output):
        listed.add(row)


def _results(
    maker: Maker, items: Sequence[WorkItem], request: Request, show: Callable[[int, int | None], None]
) -> Generator[tuple[int, Made]]:
    if len(items) < 2 or not _on_ray(request):
        # One picture alone may take minutes: its own rows are shown then.
        progress = show if len(items) == 1 else None
        for index, item in enumerate(items):
            yield index, maker.make(item, request.device, progress)
        return
    # Ray takes seconds to import.
    from refusion.runtime.spread import WorkerEndedError, find_places, spread

    gpu = torch.device(request.device).type == "cuda"
    concurrency, fraction = find_places(request.workers, len(items), gpu=gpu, option="--device cuda")
    maker = replace(maker, module=maker.module.cpu())
    found: Any
    with closing(spread(make, maker, items, concurrency, lambda _item: fraction)) as results:
        for index, found in results:
            if isinstance(found, WorkerEndedError):
                found = Made(
                    0.0, f"{items[index].pair.a}: a worker ended while it fused this pair; try fewer --workers"
                )
            yield index, found


def _put(item: WorkItem) -> None:
    target = item.target
    try:
        item.part.replace(target)
    except FileNotFoundError as error:
        raise UserError(
            f"--out {target.parent}: a worker wrote it elsewhere; name a folder that all nodes share"
        ) from error
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from error


@contextmanager
def _told_how_to_go_on(request: Request, say: Say) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"{request.task}: what is fused so far is in {request.out}; the same command goes on from there")
        raise


def _bad_pairs_error(bad: Sequence[Row]) -> UserError:
    """Returns the error that names the bad pairs of a fusing in which all others were fused."""
    one = len(bad) == 1
    lines = [
        f"{len(bad)} pair{' is' if one else 's are'} bad, all others are fused: mend these files and call the same "
        "command again, or accept it with --skip-bad-pairs",
        *(f"  {row.state.removeprefix(f'{BAD}: ')}" for row in bad[:_MOST_LISTED]),
    ]
    if len(bad) > _MOST_LISTED:
        lines.append(f"  … and {len(bad) - _MOST_LISTED} more")
    return UserError("\n".join(lines))
