"""Time and memory of fusing one large pair: all at once, and strip by strip with the maps in memory or in a file.

    python analysis/benchmarks/pictures/large_pictures.py [--height 1500] [--width 2000] [--repeats 3] [--without-plain]

Each way turns two arrays of 8 bits, a grey and b coloured, into the picture that is saved. Times are medians over calls
in turn in one process, after a warm-up on a corner. Peak memory is what one call adds to a process at rest, in a fresh
process. Grey levels: how far the pictures differ at most from the first row's.

"all at once" is the ordinary forward pass, which takes 2 GB for a million pixels: leave it out where that is too much.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

# The tools that the benchmarks share lie in the folder above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from inference import sources_of
from measuring import machine, peak_in_a_fresh_process, timed

from refusion.fuse import fuse_pair, load_pretrained
from refusion.networks import FusionModule
from refusion.networks.tiled import row_maps
from refusion.tasks import TASKS

PLAIN, IN_MEMORY, IN_FILE, DEFAULT = "all at once", "strips, maps in memory", "strips, maps in a file", "as fused"
TARGET = 1.5


class Plain(FusionModule):
    """The built-in network as a user's class, which is computed all at once."""


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _options(arguments)
    names = [name for name in (PLAIN, IN_MEMORY, IN_FILE, DEFAULT) if name != PLAIN or not options.without_plain]
    peaks = {name: peak_in_a_fresh_process(_prepared, name, options, threads=options.threads) for name in names}
    torch.set_num_threads(options.threads)
    calls = {name: _prepared(name, options) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    pictures: dict[str, NDArray[np.uint8]] = {}
    for _ in range(options.repeats):
        for name, call in calls.items():
            pictures[name], spent = timed(call)
            seconds[name].append(spent)
    _report(options, {name: statistics.median(of_one) for name, of_one in seconds.items()}, peaks, pictures)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and memory of fusing one large pair.")
    parser.add_argument("--task", choices=tuple(TASKS), default="IVIF", help="whose module fuses [%(default)s]")
    parser.add_argument("--height", type=int, default=1500)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each way")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--without-plain", action="store_true", help="leave out the ordinary forward pass")
    options = parser.parse_args(arguments)
    for name in ("height", "width", "repeats", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def _prepared(name: str, options: argparse.Namespace) -> Callable[[], NDArray[np.uint8]]:
    """The way on its module and pictures, which are the same for all; warmed up on a corner of them."""
    module = load_pretrained(options.task)
    if name == PLAIN:
        assert isinstance(module, FusionModule)
        plain = Plain(module.project_in_1.out_channels, module.FM.temperature1.shape[0], output=module.output).eval()
        plain.load_state_dict(module.state_dict())
        module = plain
    a, b = (sources_of(options.height, options.width)[0] * 255).byte().numpy()
    coloured = np.dstack([b, b, b // 2])
    call = partial(_fused, name, module)
    call(a[:64, :64], coloured[:64, :64])
    return partial(call, a, coloured)


def _fused(name: str, module: torch.nn.Module, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    usual = row_maps.MOST_BYTES_IN_MEMORY
    row_maps.MOST_BYTES_IN_MEMORY = {IN_MEMORY: 1 << 60, IN_FILE: 0}.get(name, usual)
    try:
        return fuse_pair(module, a, b)
    finally:
        row_maps.MOST_BYTES_IN_MEMORY = usual


def _report(
    options: argparse.Namespace,
    seconds: dict[str, float],
    peaks: dict[str, float],
    pictures: dict[str, NDArray[np.uint8]],
) -> None:
    first = next(iter(seconds))
    table = Table(title=f"Fusing one {options.width}×{options.height} pair", title_justify="left")
    table.add_column("")
    for column in ("seconds", f"of {first}", "peak MB", "grey levels apart"):
        table.add_column(column, justify="right")
    for name, spent in seconds.items():
        apart = int(np.abs(pictures[name].astype(int) - pictures[first]).max())
        table.add_row(name, f"{spent:.2f}", f"{spent / seconds[first]:.2f}", f"{peaks[name] / 1e6:.0f}", str(apart))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    ratio = seconds[DEFAULT] / seconds[first]
    outcome = "met" if ratio <= TARGET else "MISSED"
    console.print(f"{DEFAULT}: {ratio:.2f} times the time of {first} (target at most {TARGET:g}: {outcome})")
    console.print(f"{machine()}, {options.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
