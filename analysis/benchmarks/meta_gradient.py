"""How fast and how large the meta-gradient is, against the textbook way.

    python analysis/benchmarks/meta_gradient.py [--inner-steps 1] [--batch 4] [--crop 96] [--width 16] [--repeats 5]

Each method has a process of its own, as it would in training, so that none inherits another's heap; they are called in
turn, one at a time, on the same modules and images. Times are medians over the repeats, after a warm-up: wall time, and
CPU time of the process (all threads), which a busy machine disturbs less. Peak memory is what a call adds to the
process at rest: resident memory on the CPU, allocated memory on a GPU. Rows: ours; autograd as in the authors' loop;
autograd asked only for the gradients that are used.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from rich.console import Console
from rich.table import Table

from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule

METHODS: dict[str, Callable[..., list[torch.Tensor]]] = {
    "meta_gradient": meta_gradient,
    "meta_gradient_by_autograd": meta_gradient_by_autograd,
    "meta_gradient_by_autograd, restricted": partial(meta_gradient_by_autograd, restricted=True),
}
WARM_UP_CROP = 16


class Call(NamedTuple):
    """What one call cost, or the median of several."""

    seconds: float
    cpu_seconds: float
    peak: float


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _options(arguments)
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name in METHODS:
        pipes[name], end = context.Pipe()
        processes.append(context.Process(target=_serve, args=(name, end, options), daemon=True))
        processes[-1].start()
        end.close()
    calls: dict[str, list[Call]] = {name: [] for name in METHODS}
    for turn in range(options.repeats + 1):
        for name, pipe in pipes.items():
            pipe.send("run")
            call = pipe.recv()
            if turn:
                calls[name].append(call)
    gradients = {name: _finish(pipe) for name, pipe in pipes.items()}
    for process in processes:
        process.join()
    _report(options, {name: _median(of_one) for name, of_one in calls.items()}, gradients)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and peak memory of the meta-gradient against the textbook way.")
    parser.add_argument("--inner-steps", type=int, default=1, help="K, the number of inner steps")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=96, help="height and width of the images in pixels")
    parser.add_argument("--width", type=int, default=16, help="channels of F and P; R has twice as many")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each method")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    for name in ("inner_steps", "batch", "crop", "width", "repeats", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.width % 8:
        parser.error("--width must be a multiple of 8, the number of heads")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no CUDA device here")
    return options


def _serve(name: str, pipe: Connection, options: argparse.Namespace) -> None:
    """In a process of its own: answer each "run" with seconds and peak bytes, anything else with the gradient."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    modules = [
        module.to(options.device)
        for module in (
            FusionModule(options.width),
            LossProposalModule(options.width),
            ReconstructionModule(2 * options.width),
        )
    ]
    meta_train = torch.rand(options.inner_steps, options.batch, 2, options.crop, options.crop).to(options.device)
    meta_test = torch.rand(options.batch, 2, options.crop, options.crop).to(options.device)
    rates = [1e-2] * options.inner_steps
    corner = (..., slice(WARM_UP_CROP), slice(WARM_UP_CROP))
    METHODS[name](*modules, meta_train[corner], meta_test[corner], rates)
    at_rest = _bytes_now(options.device)
    gradients: list[torch.Tensor] = []
    while pipe.recv() == "run":
        gradients.clear()
        _wait(options.device)
        start, cpu_start = time.perf_counter(), time.process_time()
        gradients.extend(METHODS[name](*modules, meta_train, meta_test, rates))
        _wait(options.device)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        pipe.send(Call(seconds, cpu_seconds, _bytes_at_most(options.device) - at_rest))
    pipe.send(torch.cat([gradient.flatten() for gradient in gradients]).cpu().numpy())


def _median(calls: list[Call]) -> Call:
    return Call(*(statistics.median(values) for values in zip(*calls, strict=True)))


def _finish(pipe: Connection) -> torch.Tensor:
    pipe.send("finish")
    return torch.from_numpy(pipe.recv()).double()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _bytes_now(device: str) -> float:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return float(psutil.Process().memory_info().rss)


def _bytes_at_most(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _report(options: argparse.Namespace, costs: dict[str, Call], gradients: dict[str, torch.Tensor]) -> None:
    ours, ours_gradient = next(iter(costs.values())), next(iter(gradients.values()))
    table = Table(
        title=f"K = {options.inner_steps}, batch {options.batch}, {options.crop}×{options.crop}, width {options.width}"
    )
    table.add_column("")
    for column in ("seconds", "ratio", "CPU seconds", "ratio", "peak MB", "ratio", "difference"):
        table.add_column(column, justify="right")
    for name, cost in costs.items():
        difference = (gradients[name] - ours_gradient).norm() / ours_gradient.norm()
        table.add_row(
            name,
            f"{cost.seconds:.2f}",
            f"{cost.seconds / ours.seconds:.2f}",
            f"{cost.cpu_seconds:.2f}",
            f"{cost.cpu_seconds / ours.cpu_seconds:.2f}",
            f"{cost.peak / 1e6:.0f}",
            f"{cost.peak / ours.peak:.2f}",
            f"{difference:.0e}",
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(f"{_machine(options.device)}, {options.threads} threads, torch {torch.__version__}")


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
