"""Time and memory of fusing a whole picture, against the straightforward network.

    python analysis/benchmarks/inference.py [--checkpoint FILE.pth|FOLDER] [--height 480] [--width 640] [--repeats 5]

Times are medians over calls in turn in one process, after a warm-up, on the same weights and sources. Peak memory is
what one call adds to a process at rest, in a fresh process. Grey levels: how far the saved pictures differ at most.

Rows: the straightforward network, which is what public scripts run; our module's ordinary forward pass, which training
differentiates; the same tile by tile; and that by compiled code, which is what fusing, validation and evaluation run
on a CPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from measuring import machine, peak_in_a_fresh_process, timed
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from step_gradient import switched

from refusion.errors import UserError
from refusion.fuse import load_module
from refusion.images.colour import stretch
from refusion.networks import FusionModule, fuse_tiled
from refusion.networks.reference import ReferenceFusionModule

METHODS = ("straightforward network", "our forward pass", "in tiles", "in tiles, compiled")
TARGET = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _options(arguments)
    names = [name for name in METHODS if name != METHODS[0] or not options.without_reference]
    peaks = {
        name: peak_in_a_fresh_process(_prepared, name, options, threads=options.threads, device=options.device)
        for name in names
    }
    torch.set_num_threads(options.threads)
    calls = {name: _prepared(name, options) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    pictures: dict[str, torch.Tensor] = {}
    for turn in range(options.repeats + 1):
        for name, call in calls.items():
            pictures[name], spent = timed(call, options.device)
            if turn:
                seconds[name].append(spent)
    _report(options, {name: statistics.median(of_one) for name, of_one in seconds.items()}, peaks, pictures)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and peak memory of fusing a whole picture.")
    parser.add_argument("--checkpoint", help="a checkpoint folder or .pth file [random weights]")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each method")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--without-reference", action="store_true", help="leave out the straightforward network")
    options = parser.parse_args(arguments)
    for name in ("height", "width", "repeats", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no CUDA device here")
    try:
        _module(options)
    except UserError as error:
        parser.error(str(error))
    return options


def _module(options: argparse.Namespace) -> FusionModule:
    torch.manual_seed(0)
    module = load_module(options.checkpoint) if options.checkpoint else FusionModule().eval()
    if not isinstance(module, FusionModule):
        raise UserError(f"--checkpoint {options.checkpoint}: holds another network than the built-in one")
    return module


def sources_of(height: int, width: int) -> torch.Tensor:
    """Two pictures between smooth and rough, (1, 2, H, W) in [0, 1]."""
    rng = np.random.default_rng(0)
    pictures = [gaussian_filter(rng.normal(size=(height, width)), sigma) for sigma in (1.0, 3.0)]
    scaled = [(picture - picture.min()) / max(np.ptp(picture), 1e-9) for picture in pictures]
    return torch.from_numpy(np.stack(scaled)).float()[None]


def _prepared(name: str, options: argparse.Namespace) -> Callable[[], torch.Tensor]:
    """The method on its weights and sources, which are the same for all; warmed up on a corner of them."""
    module = _module(options)
    if name == METHODS[0]:
        sizes: dict[str, Any] = {"width": module.project_in_1.out_channels, "heads": module.FM.temperature1.shape[0]}
        blocks = len(module.encoder1)
        expansion = module.FM.project_E1.out_channels // (2 * sizes["width"])
        reference = ReferenceFusionModule(**sizes, blocks=blocks, expansion=expansion, output=module.output).eval()
        reference.load_state_dict(module.state_dict())
        module = reference
    sources = sources_of(options.height, options.width).to(options.device)
    module = module.to(options.device)
    call = partial(forward if name in METHODS[:2] else fuse_tiled, module)
    compiled = None if name == METHODS[3] else False
    switched(compiled, options.device, partial(call, sources[..., :16, :16]))()
    return switched(compiled, options.device, partial(call, sources))


@torch.no_grad()
def forward(module: FusionModule, sources: torch.Tensor) -> torch.Tensor:
    fused: torch.Tensor = module(sources)
    return fused


def _report(
    options: argparse.Namespace, seconds: dict[str, float], peaks: dict[str, float], pictures: dict[str, torch.Tensor]
) -> None:
    first = next(iter(seconds))
    table = Table(title=f"Fusing one {options.width}×{options.height} pair", title_justify="left")
    table.add_column("")
    for column in ("seconds", "times as fast", "peak MB", "grey levels apart"):
        table.add_column(column, justify="right")
    saved = {name: stretch(picture[0, 0].cpu().numpy()).astype(int) for name, picture in pictures.items()}
    for name, spent in seconds.items():
        apart = int(np.abs(saved[name] - saved[first]).max())
        table.add_row(name, f"{spent:.2f}", f"{seconds[first] / spent:.2f}", f"{peaks[name] / 1e6:.0f}", str(apart))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    if first == METHODS[0]:
        ratio = seconds[first] / seconds[METHODS[3]]
        outcome = "met" if ratio >= TARGET else "MISSED"
        console.print(f"{METHODS[3]}: {ratio:.1f} times as fast (target {TARGET:g}: {outcome})")
    console.print(f"{machine(options.device)}, {options.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
