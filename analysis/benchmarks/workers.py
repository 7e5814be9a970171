"""Speed of several workers with one thread each, against one worker with as many threads.

    python analysis/benchmarks/workers.py [--workers 2] [--epochs 2] [--meta-iterations 4] [--fusion-steps 8]
        [--batch 4] [--crop 96] [--data DIR] [--task IVIF] [--repeats 3]

Both train on the same crops in the same global batches, in turn, each time in fresh processes that start as a training
job's workers do and talk through gloo; Ray itself is left out. The first epoch of each warms up and does not count,
nor does validation. Images per second are pairs without their swapped copies, as a training reports them, the median
over the epochs that count. The shares of the time that pass in waiting for images and in all-reduces (there mostly in
waiting for the slowest worker) are means over workers and epochs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
import torch.distributed as dist
from all_reduces import AllReduces
from measuring import machine
from rich.console import Console
from rich.table import Table
from torch.multiprocessing.spawn import spawn

from refusion.config.layers import check
from refusion.config.presets import read_preset
from refusion.config.settings import BUILTIN, Settings
from refusion.errors import UserError
from refusion.images.dataset import data_folder, make_available
from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard, use_threads
from refusion.runtime.progress_bar import progress_bar
from refusion.runtime.worker_environment import worker_environment
from refusion.tasks import TASKS
from refusion.training.loop import TaskTraining

TARGET = 0.9
# Of a whole module's norm: workers add up in another order, and Adam blows up the last digits of small gradients.
TOLERANCE = 1e-4
INNER_STEPS = 1


class Setting(NamedTuple):
    """Number of workers, and of threads of each."""

    workers: int
    threads: int

    def __str__(self) -> str:
        plurals = ("" if count == 1 else "s" for count in self)
        return "{} worker{} × {} thread{}".format(*(part for pair in zip(self, plurals, strict=True) for part in pair))


@dataclass(frozen=True)
class Plan:
    """Training of all settings: ``epochs`` of them, the settings' last one being never reached."""

    settings: Settings
    task: str
    pairs: list[Pair]
    epochs: int

    @property
    def pairs_per_epoch(self) -> int:
        """Pairs that go into the batches of one epoch, without their swapped copies."""
        schedule = self.settings.schedule
        assert schedule.fusion_steps is not None
        batches = schedule.meta_iterations * (INNER_STEPS + 1) + schedule.fusion_steps
        return batches * self.settings.images.batch


@dataclass(frozen=True)
class Epoch:
    """One worker's seconds: in all, of it waiting for images (a mean over workers), and of it in all-reduces."""

    training: float
    data: float
    all_reduces: float


@dataclass(frozen=True)
class Run:
    """Results of one run: per worker its epochs and the modules' flat parameters; bytes of each step's all-reduces."""

    epochs: list[list[Epoch]]
    parameters: list[dict[str, torch.Tensor]]
    bytes_of: dict[str, list[int]]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _options(arguments)
    plan = _plan(options)
    settings = (Setting(1, options.workers), Setting(options.workers, 1))
    runs: dict[Setting, list[Run]] = {setting: [] for setting in settings}
    with progress_bar("training", Console(stderr=True)) as tell:
        for turn in range(options.repeats):
            for place, setting in enumerate(settings):
                tell(turn * len(settings) + place, options.repeats * len(settings))
                runs[setting].append(run(setting, plan))
    _report(options, plan, runs)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of several workers against one with as many threads.")
    parser.add_argument("--workers", type=int, default=2, help="workers, and threads of the one worker")
    parser.add_argument("--epochs", type=int, default=2, help="of each run; the first one does not count")
    parser.add_argument("--meta-iterations", type=int, default=4, help="per epoch")
    parser.add_argument("--fusion-steps", type=int, default=8, help="per epoch")
    parser.add_argument("--batch", type=int, default=4, help="pairs in the global batch")
    parser.add_argument("--crop", type=int, default=96, help="height and width of the crops in pixels")
    parser.add_argument("--data", default=BUILTIN, help="folder with TASK/train/{a,b} [the built-in scenes]")
    parser.add_argument("--task", choices=TASKS, default="IVIF")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each setting")
    options = parser.parse_args(arguments)
    for name, least in {"workers": 2, "epochs": 2, "meta_iterations": 1, "fusion_steps": 1, "repeats": 1}.items():
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    if options.batch < 1 or options.batch % options.workers:
        parser.error(f"--batch must be a multiple of --workers ({options.workers})")
    if not 8 <= options.crop <= 4096:
        parser.error("--crop must lie between 8 and 4096")
    try:
        options.pairs = _pairs(options.data, options.task)
    except UserError as error:
        parser.error(str(error))
    if not options.pairs:
        parser.error(f"--data {options.data}: there is no good pair in {options.task}/train")
    return options


def _pairs(data: str, task: str) -> list[Pair]:
    """The good pairs; which ones are bad is the training's business."""
    folder = data_folder(data)
    make_available(data, folder)
    return find_and_check(folder, task, "train")[0]


def _plan(options: argparse.Namespace) -> Plan:
    told = {
        # The last epoch is always validated: so there is one more that nobody trains.
        "schedule": {
            "epochs": options.epochs + 1,
            "meta_iterations": options.meta_iterations,
            "fusion_steps": options.fusion_steps,
            "inner_steps": INNER_STEPS,
        },
        "validation": {"every": options.epochs + 1},
        "images": {"batch": options.batch, "crop": options.crop},
    }
    # The published way, whose all-reduces docs/performance.md counts.
    return Plan(check([read_preset("published"), told]), options.task, options.pairs, options.epochs)


def run(setting: Setting, plan: Plan) -> Run:
    """Train with fresh worker processes."""
    with tempfile.TemporaryDirectory() as folder:
        with patch.dict(os.environ, worker_environment(setting.threads)):
            # Read by the C library and OpenMP when a process starts.
            workers = spawn(_work, (setting, plan, folder), setting.workers, join=False)  # type: ignore[no-untyped-call]
        while not workers.join():
            pass
        told = [torch.load(_file(folder, rank), weights_only=True) for rank in range(setting.workers)]
    return Run(
        [[Epoch(*seconds) for seconds in one["epochs"]] for one in told],
        [one["parameters"] for one in told],
        told[0]["bytes_of"],
    )


def _file(folder: str, rank: int) -> Path:
    return Path(folder) / f"{rank}.pt"


def _work(rank: int, setting: Setting, plan: Plan, folder: str) -> None:
    use_threads(setting.threads)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=setting.workers)
    settings = plan.settings.model_copy(update={"workers": setting.workers})
    store = PairStore(plan.pairs, settings.images.cache_mb << 20)
    training = TaskTraining(
        settings, plan.task, store, PairStore([]), Shard(rank, setting.workers), torch.device("cpu")
    )
    state = TrainingState(settings, plan.task)
    all_reduces = AllReduces()
    epochs: list[tuple[float, float, float]] = []
    with all_reduces.watching():
        for report in islice(training.epochs(state), plan.epochs):
            numbers = report.numbers
            epochs.append((numbers["time/training_seconds"], numbers["time/data_seconds"], all_reduces.seconds))
            all_reduces.seconds = 0.0
    parameters = {
        name: torch.cat([value.detach().flatten() for value in module.parameters()])
        for name, module in state.modules().items()
    }
    torch.save({"epochs": epochs, "parameters": parameters, "bytes_of": all_reduces.bytes_of}, _file(folder, rank))
    dist.barrier()
    # All is saved. gloo's threads, torn down at the interpreter's exit, now and then abort the process.
    os._exit(0)


def _speeds(plan: Plan, runs: list[Run]) -> list[float]:
    """Pairs per second over all workers, of each epoch that counts: the slowest worker decides."""
    return [
        plan.pairs_per_epoch / max(epoch.training for epoch in of_workers)
        for one in runs
        for of_workers in list(zip(*one.epochs, strict=True))[1:]
    ]


def _share(runs: list[Run], of: str) -> float:
    counted = [epoch for one in runs for epochs in one.epochs for epoch in epochs[1:]]
    return statistics.fmean(getattr(epoch, of) / epoch.training for epoch in counted)


def _apart(runs: list[Run]) -> tuple[float, float]:
    """Distance of all workers of all runs from the first: the largest difference, and relative to a module's norm."""
    first = runs[0].parameters[0]
    pairs = [(own[name], first[name]) for one in runs for own in one.parameters for name in first]
    return (
        max(float((own - value).abs().max()) for own, value in pairs),
        max(float((own - value).norm() / value.norm()) for own, value in pairs),
    )


def _report(options: argparse.Namespace, plan: Plan, runs: dict[Setting, list[Run]]) -> None:
    first, last = runs
    speeds = {setting: statistics.median(_speeds(plan, of_one)) for setting, of_one in runs.items()}
    table = Table(
        title=f"{options.meta_iterations} meta-iterations and {options.fusion_steps} fusion updates, "
        f"batch {options.batch}, {options.crop}×{options.crop}",
        title_justify="left",
    )
    table.add_column("")
    for column in ("images/s", "ratio", "waiting for images", "in all-reduces"):
        table.add_column(column, justify="right")
    for setting, of_one in runs.items():
        shares = [f"{_share(of_one, name):.1%}" for name in ("data", "all_reduces")]
        table.add_row(str(setting), f"{speeds[setting]:.2f}", f"{speeds[setting] / speeds[first]:.2f}", *shares)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(table)
    ratio = speeds[last] / speeds[first]
    outcome = "met" if ratio >= TARGET else "MISSED"
    console.print(f"{last}: {ratio:.2f} of {first} (target {TARGET:g}: {outcome} by {abs(ratio - TARGET):.2f})")
    for phase, sizes in runs[last][0].bytes_of.items():
        shown = " + ".join(f"{size / 1e3:.0f}" for size in sizes)
        console.print(f"all-reduces per {phase}: {len(sizes)} ({shown} kB)")
    largest, relative = _apart([one for of_one in runs.values() for one in of_one])
    total = sum(float(module.double().sum()) for module in runs[first][0].parameters[0].values())
    agree = "agree" if relative <= TOLERANCE else "DIFFER"
    apart = f"at most {largest:.1e} apart, {relative:.1e} of a module's norm"
    console.print(f"parameters at the end: {agree} (sum {total:.6f}; {apart})")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < options.workers:
        console.print(f"only {cores} of {options.workers} cores may be used here: the ratio says nothing")
    console.print(f"{machine()}, torch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
