"""Several trials in one process: in turn, in threads, or with their parameters stacked.

    python analysis/benchmarks/gpu/trials_at_once.py [--trials 1 4 16] [--width 16] [--crop 32] [--batch 2] [--gpu]

First the gradient of L_f in F's parameters, the heart of a fusion update, of as many networks of that size: one after
the other, each in a thread of its own, and all as one by `torch.func.vmap` over stacked parameters, which only plain
PyTorch operations allow. Then whole trials per hour in one process, each in a thread and on a GPU in a stream.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.func import functional_call, grad, stack_module_state, vmap

# Where the other programs and their tools are.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.rows import table_of as table_of_rows
from gpu.trials import TOGETHER, trial_rows
from measuring import machine

from refusion.networks.fusion import FusionModule
from refusion.networks.reference import ReferenceFusionModule
from refusion.objectives import FusionLoss, FusionWeights
from refusion.ops.backend import configure

_LOSS = FusionLoss()
_REPEATS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print two tables."""
    options = _options(arguments)
    device = "cuda" if options.gpu else "cpu"
    torch.set_num_threads(1)
    console = Console()
    console.print(f"{machine(device)}, torch {torch.__version__}, one thread of PyTorch's for each of ours")
    table = Table(title=f"Gradient of L_f, width {options.width}, batch {options.batch}, crop {options.crop}²: ms each")
    table.add_column("")
    columns = [calls_of(n, options.width, options.crop, options.batch, device) for n in options.trials]
    for n in options.trials:
        table.add_column(f"{n} networks", justify="right")
    for way in columns[0]:
        each = (milliseconds(calls[way], device) / n for n, calls in zip(options.trials, columns, strict=True))
        table.add_row(way, *(f"{value:.1f}" for value in each))
    console.print(table)
    console.print(table_of_rows(trial_rows(device, options.trials), "Trials per hour"))
    return 0


def calls_of(n: int, width: int, crop: int, batch: int, device: str) -> dict[str, Callable[[], object]]:
    """By way, the gradients of ``n`` networks."""
    plain = [ReferenceFusionModule(width, heads=4, blocks=1).to(device) for _ in range(n)]
    ours = [FusionModule(width, heads=4, blocks=1).to(device) for _ in range(n)]
    for one, other in zip(ours, plain, strict=True):
        one.load_state_dict(other.state_dict())
    images = torch.rand(n, batch, 2, crop, crop, device=device)
    stacked, _ = stack_module_state(plain)
    by_vmap = vmap(grad(lambda given, sources: _loss(lambda x: functional_call(plain[0], given, (x,)), sources)))

    def gradient(module: FusionModule, sources: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(_loss(module, sources), list(module.parameters()))

    def in_threads() -> object:
        with ThreadPoolExecutor(n) as pool:
            return list(pool.map(gradient, ours, images))

    return {
        "plain PyTorch, stacked by vmap": lambda: by_vmap(stacked, images),
        "plain PyTorch, in turn": lambda: [gradient(*one) for one in zip(plain, images, strict=True)],
        "ours, in turn": lambda: [gradient(*one) for one in zip(ours, images, strict=True)],
        "ours, each in a thread": in_threads,
    }


def milliseconds(call: Callable[[], object], device: str) -> float:
    """Median of some calls after a first one: processor time on a CPU, so that other work there does not count."""
    with configure(device):
        call()
        spent = []
        clock = time.perf_counter if device == "cuda" else time.process_time
        for _ in range(_REPEATS):
            begun = clock()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            spent.append(clock() - begun)
    return 1e3 * statistics.median(spent)


def _loss(module: Callable[[torch.Tensor], torch.Tensor], sources: torch.Tensor) -> torch.Tensor:
    even = torch.full_like(sources, 0.5)
    return _LOSS(module(sources), sources, FusionWeights(even, even))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", nargs="+", type=int, default=list(TOGETHER), metavar="N")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="on the GPU instead of the CPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
