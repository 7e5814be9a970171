"""An audit from its request to its report: fuse everything once, fit what is not done yet, print and plot."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from refusion.audit.methods import Fused, chosen_methods, fuse_all
from refusion.audit.options import FitOptions
from refusion.audit.parallel import Fit, run_fits
from refusion.audit.report import agreements, correlation_rows, method_table, notes, overview, plot, rich_report
from refusion.audit.results import SETTING, AuditFile, FitKey
from refusion.audit.rewards import NamedReward, find_reward
from refusion.config.precision import InferencePrecision
from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.evaluation.csv_file import check_writable, csv_text, write_atomically
from refusion.evaluation.methods import Method
from refusion.evaluation.scenes import pairs_of_split
from refusion.images.dataset import evenly_spaced
from refusion.images.pairs import Pair
from refusion.metrics import CATALOGUE, METRICS
from refusion.runtime.progress_bar import progress_bar
from refusion.tasks import find_task

_LOG_WIDTH = 150


@dataclass(frozen=True)
class Request:
    """Request of an audit.

    Attributes:
        task: the fusion task.
        data: folder with TASK/{train,val}/{a,b}, or "builtin".
        methods: option (baseline, fused, checkpoint) and value.
        rewards: names.
        channel_noise, width: values, each combined with each.
        seeds: number of seeds.
        steps, batch, crop, from_fused: as in `FitOptions`.
        train_pairs, val_pairs: at most so many of each, evenly spaced.
        device: "cpu" or "cuda".
        precision: "float32", or "tf32" of a GPU.
        workers: fits at once.
        reading, skip_bad_pairs: ranges of the sources, limits, and what becomes of bad pairs.
        trust_code: as for `refusion.load_module`.
        out: the CSV file.
    """

    task: str
    data: str
    methods: Sequence[tuple[str, str]]
    rewards: Sequence[str]
    channel_noise: Sequence[float]
    width: Sequence[int]
    seeds: int
    steps: int
    batch: int
    crop: int
    from_fused: bool
    train_pairs: int
    val_pairs: int
    device: str
    precision: InferencePrecision
    workers: int | None
    trust_code: bool | Collection[str]
    out: Path
    reading: Reading = field(default_factory=Reading)
    skip_bad_pairs: bool = False


def run_audit(request: Request) -> int:
    """Fits R for every method, reward, noise, width and seed that the file does not hold yet, and reports.

    Returns:
        Exit status 0.

    Raises:
        UserError: the request or the data is at fault.
    """
    console = Console(stderr=True)
    task = find_task(request.task).name
    rewards = [find_reward(name) for name in dict.fromkeys(request.rewards)]
    methods = chosen_methods(task, request.methods)
    file = AuditFile(check_writable(request.out))
    if request.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device on this machine; leave --device out")
    pairs = _pairs(request, task, console)
    fused = _fused(request, methods, pairs, console)
    keys = _keys(request, task, rewards, fused)
    names = [pair.name for pair in pairs["val"]]
    open_fits = {fit: key for fit, key in keys.items() if not file.has(key)}
    with progress_bar("fitting", console) as on_progress:
        on_progress(0, len(open_fits))
        done = run_fits(
            list(open_fits), fused, device=request.device, precision=request.precision, workers=request.workers
        )
        for count, (fit, losses, seconds) in enumerate(done, start=1):
            file.add(open_fits[fit], names, losses, fused[fit.method].scores, seconds)
            on_progress(count, len(open_fits))
    print(f"{len(open_fits)} of {len(keys)} fits done now, the others before: {file.file}")
    _report(request, file, task, keys)
    return 0


def _pairs(request: Request, task: str, console: Console) -> dict[str, list[Pair]]:
    found = {}
    lines: list[str] = []
    for split, most in (("train", request.train_pairs), ("val", request.val_pairs)):
        with progress_bar(f"checking {split} pairs", console) as on_progress:
            pairs = pairs_of_split(
                request.data,
                task,
                split,
                on_progress,
                reading=request.reading,
                skip_bad=request.skip_bad_pairs,
                tell=lines.append,
            )
        found[split] = [pairs[index] for index in evenly_spaced(len(pairs), most)]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    for pair in found["train"]:
        if min(pair.height, pair.width) < request.crop:
            raise UserError(
                f"{pair.a}: is {pair.width}×{pair.height}, smaller than --crop {request.crop}: ask for less"
            )
    least = max(CATALOGUE[name].definitions["authors"].smallest_side for name in METRICS)
    for pair in found["val"]:
        if min(pair.height, pair.width) < least:
            raise UserError(f"{pair.a}: is {pair.width}×{pair.height}: metrics need at least {least} pixels a side")
    return found


def _fused(
    request: Request, methods: Sequence[Method], pairs: dict[str, list[Pair]], console: Console
) -> dict[str, Fused]:
    with progress_bar("fusing", console) as on_progress:
        found = fuse_all(
            methods,
            pairs,
            device=request.device,
            precision=request.precision,
            trust_code=request.trust_code,
            on_progress=on_progress,
        )
    return {one.name: one for one in found}


def _keys(request: Request, task: str, rewards: Sequence[NamedReward], fused: dict[str, Fused]) -> dict[Fit, FitKey]:
    """Returns every fit of the request, those of one setting and seed together, and its identity."""
    keys = {}
    for reward, noise, width, seed, one in product(
        rewards,
        dict.fromkeys(request.channel_noise),
        dict.fromkeys(request.width),
        range(request.seeds),
        fused.values(),
    ):
        options = FitOptions(noise, width, request.steps, seed, request.batch, request.crop, request.from_fused)
        keys[Fit(one.name, reward, options)] = FitKey(
            task, one.name, one.digest, reward.name, options, len(one.train.fused), len(one.val.fused)
        )
    return keys


def _report(request: Request, file: AuditFile, task: str, keys: dict[Fit, FitKey]) -> None:
    settings: dict[tuple[str, FitOptions], list[FitKey]] = {}
    for key in keys.values():
        settings.setdefault((key.reward_name, replace(key.options, seed=0)), []).append(key)
    console = Console(width=None if Console().is_terminal else _LOG_WIDTH)
    correlations: list[dict[str, object]] = []
    for members in settings.values():
        first, options = members[0], members[0].options
        title = (
            f"{task}, reward {first.reward_name}, channel noise {options.channel_noise:g}, width {options.width}, "
            f"{options.steps} steps of {options.batch} crops of {options.crop} px, {request.seeds} seeds, "
            f"{first.val_pairs} val pairs"
        )
        rows = file.pairs_of(members)
        table, found = method_table(rows), agreements(rows)
        console.print(rich_report(title, table, found))
        for text in notes(table):
            console.print(text, markup=False, highlight=False)
        setting = {name: first.values()[name] for name in ("task", *SETTING)} | {"seeds": request.seeds}
        correlations += correlation_rows(setting, found)
        short = re.sub(r"[^A-Za-z0-9.]+", "-", first.reward_name)
        image = f"{file.file.stem}_{task}_{short}_{options.channel_noise:g}_{options.width}_{options.steps}.png"
        file.file.with_name(image).write_bytes(plot(title, table, found))
    if len(settings) > 1:
        console.print(overview(pd.DataFrame(correlations)))
    beside = file.file.with_name(f"{file.file.stem}_correlations.csv")
    write_atomically(beside, csv_text(pd.DataFrame(correlations)))
    console.print(f"plots and correlations beside it: {beside}", markup=False, highlight=False, soft_wrap=True)
