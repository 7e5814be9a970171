"""Time and memory of the whole training step, against the textbook's.

    python analysis/benchmarks/training_step.py [--inner-steps 1 --inner-steps 3] [--batch 4] [--crop 96] [--width 16]
        [--repeats 5] [--threads N] [--device cpu|cuda] [--no-sweep] [--no-epoch] [--no-compile]

Times are medians over calls in turn in one process, after a warm-up, on the same weights and images. Peak memory is
what one call adds to a process at rest, in a fresh process per method, since a heap that has grown stays grown:
resident memory on the CPU, allocated memory on a GPU.

Printed, one table after the other:

- the meta-gradient for each K: ours, as trainings and plain scripts run it (on a CPU compiled) and not compiled; the
  textbook way on straightforward networks, which is what public training loops run; the textbook way on our faster
  forms of the same networks; and that asked only for the gradients that are used;
- a short epoch of meta-iterations and fusion updates: our phases, and the textbook's loop (`textbook`);
- where the time of our phases goes;
- what compiled code (`--compile` of the jobs) costs, and after how many steps it has paid; what bfloat16
  (`--precision`) gains where nothing is compiled;
- the memory traffic of the meta-gradient without compiled code, against the bandwidth of a large copy;
- how its cost grows with the pixels, the batch and the inner steps.

Each target is followed by whether the numbers above it meet it; one that is missed does not change the exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import step_compiling
import step_epoch
import step_gradient
import step_phases
import step_sweep
import step_traffic
import torch
from measuring import machine
from rich.console import RenderableType
from step_measuring import Say, Size, showing_progress, stdout


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    options = _options(arguments)
    sizes = [Size(k, options.batch, options.crop, options.width, options.device) for k in options.inner_steps]
    console = stdout()
    for section in _sections(sizes, options):
        for part in section:
            console.print(part)
    console.print(f"{machine(options.device)}, {options.threads} threads, torch {torch.__version__}")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and peak memory of the training step against the textbook's.")
    parser.add_argument(
        "--inner-steps", type=int, action="append", help="K, the number of inner steps; once per K [1 and 3]"
    )
    parser.add_argument("--batch", type=int, default=4, help="images fed at once, swapped copies included")
    parser.add_argument("--crop", type=int, default=96, help="height and width of the images in pixels")
    parser.add_argument("--width", type=int, default=16, help="channels of F and P; R has twice as many")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each method")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--no-sweep", action="store_true", help="leave out how the cost grows")
    parser.add_argument("--no-epoch", action="store_true", help="leave out the epoch against the textbook's")
    parser.add_argument("--no-compile", action="store_true", help="leave out what compiling costs and bfloat16 gains")
    options = parser.parse_args(arguments)
    options.inner_steps = list(dict.fromkeys(options.inner_steps or (1, 3)))
    if min(options.inner_steps) < 1:
        parser.error("--inner-steps must be at least 1")
    for name in ("batch", "repeats", "threads", "width"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.crop < 2:
        parser.error("--crop must be at least 2")
    if options.width % 8:
        parser.error("--width must be a multiple of 8, the number of heads")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no CUDA device here; leave the option out to measure the CPU")
    return options


def _sections(sizes: list[Size], options: argparse.Namespace) -> Iterator[list[RenderableType]]:
    """Tables and sentences, as they are measured."""
    # First of all, while this process leaves the memory to them.
    with showing_progress() as say:
        peaks, sweep_peaks = _peaks(sizes, options, say)
    torch.set_num_threads(options.threads)
    seconds = {}
    for size in sizes:
        with showing_progress() as say:
            section, seconds[size] = step_gradient.section(size, peaks[size], options.repeats, say)
        yield section
    measure: list[Callable[[Say], list[RenderableType]]] = []
    if not options.no_epoch:
        measure.append(partial(step_epoch.section, sizes[0], options.repeats))
    measure.append(partial(step_phases.section, sizes))
    if not options.no_compile:
        measure.append(partial(step_compiling.section, sizes, seconds, options.repeats))
    measure.append(partial(step_traffic.section, seconds, options.device))
    if not options.no_sweep:
        measure.append(partial(step_sweep.section, sizes[0], sweep_peaks, options.repeats))
    for one in measure:
        with showing_progress() as say:
            section = one(say)
        yield section


def _peaks(
    sizes: list[Size], options: argparse.Namespace, say: Say
) -> tuple[dict[Size, dict[str, float]], dict[Size, float]]:
    """Peak bytes of each method at each K, and of ours at each size of the sweep."""
    peaks: dict[Size, dict[str, float]] = {size: {} for size in sizes}
    for size in sizes:
        for name in step_gradient.METHODS:
            say(f"peak memory: {name}, {size}")
            peaks[size][name] = step_gradient.peak(name, size, options.threads)
    sweep: dict[Size, float] = {}
    for size in () if options.no_sweep else step_sweep.sizes(sizes[0]):
        say(f"peak memory: {size}")
        known = peaks.get(size, {}).get(step_gradient.OURS)
        sweep[size] = step_gradient.peak(step_gradient.OURS, size, options.threads) if known is None else known
    return peaks, sweep


if __name__ == "__main__":
    sys.exit(main())
