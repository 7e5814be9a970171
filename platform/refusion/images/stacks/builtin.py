"""Builtin stacks of exposures and of focal planes, with what they should become: for comparing ways to fuse them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refusion.errors import UserError
from refusion.images.builtin import scenes_of
from refusion.images.colour import luminance
from refusion.images.renderings import Byte, Float, exposure_stack, focal_stack

# Stops below and above the middle exposure, whatever the number of pictures.
_STOPS = 3.0
# A stack is taken where two planes do not suffice: the blur is larger than that of the builtin pairs.
_LARGEST_BLUR = 6.0
_DARKEST, _BRIGHTEST = 0.1, 99.9


@dataclass(frozen=True)
class BuiltinStack:
    """A rendered stack.

    Attributes:
        name: of the scene.
        sources: (H, W) or (H, W, 3) uint8, from dark to bright (MEIF) or from near to far (MFIF).
        truth: luminance (H, W) uint8: of MFIF the scene in focus everywhere, of MEIF its radiance in stops, the
            percentiles 0.1 to 99.9 as 0 to 255.
    """

    name: str
    sources: list[Byte]
    truth: Byte


def builtin_stacks(task: str, count: int) -> Iterator[BuiltinStack]:
    """Yields a stack of every builtin scene of MEIF or MFIF, the same every time.

    Args:
        task: MEIF (−3 to +3 EV in equal steps) or MFIF (planes of focus in equal steps, from the nearest).
        count: pictures in each stack, 2 or more.

    Raises:
        UserError: the task has no stacks, or scikit-image came without its pictures.

    Example:
        >>> stack = next(builtin_stacks("MEIF", 3))
        >>> len(stack.sources), bool(stack.sources[0].mean() < stack.sources[2].mean())
        (3, True)
    """
    if task not in ("MEIF", "MFIF"):
        raise UserError(f"there are no builtin stacks of {task}: choose MEIF or MFIF")
    for name, picture, depth, is_grey in scenes_of(task):
        if depth is not None:
            planes = np.linspace(1, 0, count).tolist()
            sources, truth = focal_stack(picture, depth, planes, largest=_LARGEST_BLUR), picture * np.float32(255)
        else:
            rng = np.random.Generator(np.random.Philox(zlib.crc32(f"{task}/{name}/{count}".encode())))
            sources, radiance = exposure_stack(picture, rng, np.linspace(-_STOPS, _STOPS, count).tolist())
            truth = _in_stops(radiance)
        if is_grey:
            sources = [source[..., 1] for source in sources]
        yield BuiltinStack(name, sources, np.rint(luminance(truth) * 255).astype(np.uint8))


def _in_stops(radiance: Float) -> NDArray[np.float32]:
    light = luminance(np.clip(radiance / radiance.max(), 0, 1) * np.float32(255))
    stops = np.log2(np.maximum(light, 1e-6))
    low, high = np.percentile(stops, (_DARKEST, _BRIGHTEST))
    return np.asarray(np.clip((stops - low) / (high - low), 0, 1) * 255, np.float32)
