"""How fast and how large the meta-gradient is, against the textbook way.

    python analysis/benchmarks/meta_gradient.py [--inner-steps 1] [--batch 4] [--crop 96] [--width 16] [--repeats 5]

Times are medians over calls in turn in one process, after a warm-up, on the same weights and images. Peak memory is
what one call adds to a process at rest, in a fresh process per method, since a heap that has grown stays grown:
resident memory on the CPU, allocated memory on a GPU.

Rows: ours; the textbook way on straightforward networks, which is what public training loops run; the textbook way on
our faster forms of the same networks, as the authors' loop asks for gradients; and asked only for those that are used.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import psutil
import torch
from measuring import machine, peak_in_a_fresh_process, timed
from rich.console import Console
from rich.table import Table

from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
from refusion.networks.plain import PlainFusionModule, PlainLossProposalModule, PlainReconstructionModule

FAST = (FusionModule, LossProposalModule, ReconstructionModule)
PLAIN = (PlainFusionModule, PlainLossProposalModule, PlainReconstructionModule)


class Method(NamedTuple):
    """A way to compute the meta-gradient, and the forms of F, P and R that it is given."""

    compute: Callable[..., list[torch.Tensor]]
    forms: tuple[type[torch.nn.Module], ...] = FAST


METHODS = {
    "meta_gradient": Method(meta_gradient),
    "meta_gradient_by_autograd, straightforward networks": Method(meta_gradient_by_autograd, PLAIN),
    "meta_gradient_by_autograd": Method(meta_gradient_by_autograd),
    "meta_gradient_by_autograd, restricted": Method(partial(meta_gradient_by_autograd, restricted=True)),
}
WARM_UP_CROP = 16


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _options(arguments)
    peaks = {
        name: peak_in_a_fresh_process(_prepared, name, options, threads=options.threads, device=options.device)
        for name in METHODS
    }
    torch.set_num_threads(options.threads)
    calls = {name: _prepared(name, options) for name in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    gradients: dict[str, torch.Tensor] = {}
    for turn in range(options.repeats + 1):
        for name, call in calls.items():
            found, spent = timed(call, options.device)
            if turn:
                seconds[name].append(spent)
            gradients[name] = torch.cat([gradient.flatten() for gradient in found]).double()
    _report(options, {name: statistics.median(of_one) for name, of_one in seconds.items()}, peaks, gradients)
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


def _prepared(name: str, options: argparse.Namespace) -> Callable[[], list[torch.Tensor]]:
    """The method on its modules and images, which are the same for all methods; warmed up on a corner of them."""
    torch.manual_seed(0)
    compute, forms = METHODS[name]
    modules = [
        form(width).to(options.device)
        for form, width in zip(forms, (options.width, options.width, 2 * options.width), strict=True)
    ]
    meta_train = torch.rand(options.inner_steps, options.batch, 2, options.crop, options.crop).to(options.device)
    meta_test = torch.rand(options.batch, 2, options.crop, options.crop).to(options.device)
    rates = [1e-2] * options.inner_steps
    corner = (..., slice(WARM_UP_CROP), slice(WARM_UP_CROP))
    compute(*modules, meta_train[corner], meta_test[corner], rates)
    return partial(compute, *modules, meta_train, meta_test, rates)


def _report(
    options: argparse.Namespace, seconds: dict[str, float], peaks: dict[str, float], gradients: dict[str, torch.Tensor]
) -> None:
    first = next(iter(METHODS))
    table = Table(
        title=f"K = {options.inner_steps}, batch {options.batch}, {options.crop}×{options.crop}, width {options.width}"
    )
    table.add_column("")
    for column in ("seconds", "ratio", "peak MB", "ratio", "difference"):
        table.add_column(column, justify="right")
    for name in METHODS:
        difference = (gradients[name] - gradients[first]).norm() / gradients[first].norm()
        table.add_row(
            name,
            f"{seconds[name]:.2f}",
            f"{seconds[name] / seconds[first]:.2f}",
            f"{peaks[name] / 1e6:.0f}",
            f"{peaks[name] / peaks[first]:.2f}",
            f"{difference:.0e}",
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(f"{machine(options.device)}, {options.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
