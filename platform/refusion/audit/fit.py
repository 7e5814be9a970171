"""One fit of the audit: R learns to rebuild the sources from one method's fused pictures; no Ray, no files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from refusion.audit.options import FitOptions
from refusion.networks.reconstruction import ReconstructionModule
from refusion.objectives import Reward

Picture = NDArray[np.uint8]

LARGEST_VAL_SIDE = 256
"""Validation takes the loss on centre crops of at most this many pixels a side."""

# So many steps' crops are cut and sent to the device at once.
_STEPS_AT_ONCE = 50
RATE = 2e-3
"""Adam's rate in the first step."""

# Validation's noise has streams of its own: one per picture, the same for every method.
_VAL_STREAM, _TRAIN_STREAM = 1, 2


@dataclass(frozen=True)
class Pictures:
    """Sources and fused pictures of one split, grey levels.

    Attributes:
        sources: (2, H, W) each, a first, then b.
        fused: (H, W) each, in the same order and of the same sizes.
    """

    sources: Sequence[Picture]
    fused: Sequence[Picture]


def fit_reward(
    train: Pictures, val: Pictures, reward: Reward, options: FitOptions, device: torch.device | str = "cpu"
) -> list[float]:
    """Trains R to rebuild the sources from the fused train pictures, and takes its loss on each val picture.

    R sees fused + channel_noise · n with n drawn from N(0, 1), anew in each step. Two fits with equal options start
    from the same R and see the same crops with the same noise, whatever the fused pictures are.

    Args:
        train: pictures with sides of at least ``options.crop``.
        val: pictures of any size.
        reward: the loss, of rebuilt and true sources (B, 2, H, W) in [0, 1].
        options: as above.
        device: where it is computed.

    Returns:
        The loss on each val picture's centre crop, in their order.

    Source: measurements of this project, docs/results.md.
    """
    module = start(ReconstructionModule, options).to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE, foreach=True)
    for step, (seen, sources) in enumerate(batches(train, options, torch.device(device))):
        set_rate(optimizer, step, options.steps)
        optimizer.zero_grad(set_to_none=True)
        reward(module(seen), sources).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        found = [reward(module(seen), sources) for seen, sources in val_crops(val, options, torch.device(device))]
    return torch.stack(found).tolist()


Module = TypeVar("Module", bound=ReconstructionModule)


def start(kind: type[Module], options: FitOptions) -> Module:
    """Returns R as every fit of this seed and width starts, on the CPU; leaves the process's generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return kind(options.width, from_fused=options.from_fused)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Sets the rate of a step, counted from 0: a cosine from 2e-3 to 0."""
    for group in optimizer.param_groups:
        group["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2


def centre_crop(picture: Picture, side: int = LARGEST_VAL_SIDE) -> Picture:
    """Returns the middle of (…, H, W), at most ``side`` × ``side`` pixels."""
    height, width = picture.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return picture[..., top : top + side, left : left + side]


def batches(
    pictures: Pictures, options: FitOptions, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields what R sees, (B, 1, crop, crop), and the sources, (B, 2, crop, crop), for each step."""
    random = np.random.default_rng((options.seed, _TRAIN_STREAM))
    noise = torch.Generator(device).manual_seed(options.seed)
    crop = options.crop
    for first in range(0, options.steps, _STEPS_AT_ONCE):
        steps = min(_STEPS_AT_ONCE, options.steps - first)
        cut = np.empty((steps * options.batch, 3, crop, crop), np.uint8)
        for out in cut:
            index = int(random.integers(len(pictures.sources)))
            height, width = pictures.fused[index].shape
            top, left = (int(random.integers(side - crop + 1)) for side in (height, width))
            window = (..., slice(top, top + crop), slice(left, left + crop))
            out[0], out[1:] = pictures.fused[index][window], pictures.sources[index][window]
        # A chunk at a time, so that a GPU is never waited for within one.
        images = torch.from_numpy(cut).to(device).float().div_(255).view(steps, options.batch, 3, crop, crop)
        seen = images[:, :, :1]
        if options.channel_noise:
            seen = seen + options.channel_noise * torch.randn(seen.shape, generator=noise, device=device)
        yield from zip(seen, images[:, :, 1:], strict=True)


def val_crops(
    pictures: Pictures, options: FitOptions, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields what R sees, (1, 1, H, W), and the sources, (1, 2, H, W), of each val picture's centre."""
    for index, (fused, sources) in enumerate(zip(pictures.fused, pictures.sources, strict=True)):
        crops = [torch.from_numpy(np.array(centre_crop(image))) for image in (fused[None], sources)]
        seen, true = (crop[None].to(device).float() / 255 for crop in crops)
        if options.channel_noise:
            noise = torch.Generator(device).manual_seed(_VAL_STREAM + 1000 * options.seed + index)
            seen = seen + options.channel_noise * torch.randn(seen.shape, generator=noise, device=device)
        yield seen, true
