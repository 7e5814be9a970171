"""Fusing whole pictures, and scoring them, against the textbook on the same device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from gpu.rows import Row
from gpu.steps import measured
from gpu.textbook_metrics import TEXTBOOK
from inference import forward, sources_of
from torch import Tensor
from torch.nn import functional

from refusion.metrics import evaluate
from refusion.networks import FusionModule, fuse_tiled
from refusion.networks.reference import ReferenceFusionModule
from refusion.ops.backend import configure


def inference_rows(device: str) -> Iterator[Row]:
    """Milliseconds to fuse one pair: the straightforward network, our forward pass, in tiles, in tiles compiled."""
    for height, width in ((480, 640), (1024, 1280), (3072, 4096)) if device == "cuda" else ((40, 56),):
        torch.manual_seed(0)
        module = FusionModule().eval().to(device)
        plain = ReferenceFusionModule().eval().to(device)
        plain.load_state_dict(module.state_dict())
        sources = sources_of(height, width).to(device)
        ways: dict[str, tuple[bool, Callable[[], Tensor]]] = {
            "straightforward network": (False, partial(forward, plain, sources)),
            "our forward pass": (False, partial(forward, module, sources)),
            "in tiles": (False, partial(fuse_tiled, module, sources)),
        }
        if height > 2000:
            # Whole maps of such a picture take tens of gigabytes.
            ways = {"in tiles": ways["in tiles"]}
        reference = math.nan
        for name, (compiled, call) in ways.items():
            what = f"{width}×{height}, {name}"
            with configure(device, compile=compiled, even_if_slower=True) as backend:
                if backend.notes:
                    yield Row("inference", what, note="; ".join(backend.notes))
                    continue
                seconds, peak = measured(call, 5 if device == "cuda" else 1, device)
            reference = seconds if math.isnan(reference) else reference
            yield Row("inference", what, 1e3 * seconds, "ms", reference / seconds, peak / 1e6)


def metric_rows(device: str) -> Iterator[Row]:
    """Milliseconds to score fused pictures: each of seven metrics, and all seven at once."""
    repeats = 5 if device == "cuda" else 1
    for count, height, width in ((1, 480, 640), (8, 480, 640)) if device == "cuda" else ((2, 48, 64),):
        images = scene(count, height, width, device)
        wide = [image.float() for image in images]
        spent = 0.0
        for name, metric in TEXTBOOK.items():
            ours, _ = measured(partial(evaluate, *images, name), repeats, device)
            theirs, _ = measured(partial(metric, *wide), repeats, device)
            apart = (evaluate(*images, name)[name].double() - metric(*wide).double()).abs().max()
            note = f"{float(apart):.0e} apart, the textbook in float32"
            spent += theirs
            yield Row("metrics", f"{name} of {count} × {width}×{height}", 1e3 * ours, "ms", theirs / ours, note=note)
        ours, peak = measured(partial(evaluate, *images, list(TEXTBOOK)), repeats, device)
        yield Row(
            "metrics", f"all seven of {count} × {width}×{height}", 1e3 * ours, "ms", spent / ours, peak_mb=peak / 1e6
        )


def scene(count: int, height: int, width: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Fused pictures and both sources, uint8 (count, 1, H, W): smooth noise, each source blurred in one half."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 1, height + 8, width + 8, generator=draw)
    sharp = _stretched(functional.avg_pool2d(noise, 3, stride=1)[..., 3:-3, 3:-3])
    blurred = functional.avg_pool2d(sharp, 7, stride=1, padding=3, count_include_pad=False)
    near = torch.arange(width) < width // 2
    a, b = torch.where(near, sharp, blurred), torch.where(near, blurred, sharp)
    fused, a, b = (image.round().to(torch.uint8).to(device) for image in (0.3 * a + 0.7 * b, a, b))
    return fused, a, b


def _stretched(image: Tensor) -> Tensor:
    return (image - image.min()) / (image.max() - image.min()) * 255
