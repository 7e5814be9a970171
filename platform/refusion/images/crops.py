"""Plans of crops: which crop of which pair stands at which position of which batch.

A plan is a pure function of (seed, task, phase, step, position in the global batch), so that any number of workers and
any restart see the same data.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["meta", "fusion"]

# The uses of random numbers have separate streams.
_ORDER, _GEOMETRY, _NOISE = 0, 1, 2


@dataclass(frozen=True)
class CropPlan:
    """One crop of one pair: its index, position and flips.

    Attributes:
        index: of the pair.
        top, left: fractions in [0, 1) of the possible positions, so a plan depends on no image or crop size.
        flip_horizontal, flip_vertical: flips after cropping.
    """

    index: int
    top: float
    left: float
    flip_horizontal: bool
    flip_vertical: bool


def plan_meta(seed: int, task: str, step: int, positions: Sequence[int], count: int) -> list[CropPlan]:
    """Plans the crops of one meta-iteration: meta-train and meta-test share its positions (say 0 … 2B − 1).

    The pair at a position is that element of one permutation of all pairs per (seed, task, step), so all positions
    of a meta-iteration show different pairs while there are enough; beyond ``count`` pairs repeat, cropped elsewhere.

    Args:
        seed, task: of the run.
        step: the meta-iteration, counted from the start of the run.
        positions: positions in the global batch; each plan depends on its own position only.
        count: number of pairs, at least 1.

    Returns:
        One plan per position.

    Raises:
        ValueError: ``count`` is less than 1.

    Example:
        >>> plans = plan_meta(0, "IVIF", 0, range(4), 4)
        >>> sorted(plan.index for plan in plans)
        [0, 1, 2, 3]
        >>> plan_meta(0, "IVIF", 0, [2], 4) == plans[2:3]
        True
    """
    order = _permutation(seed, task, "meta", step, _positive(count))
    return [_plan(seed, task, "meta", step, position, int(order[position % count])) for position in positions]


def plan_fusion(seed: int, task: str, step: int, positions: Sequence[int], batch: int, count: int) -> list[CropPlan]:
    """Plans the crops of one fusion update.

    The global batches of all steps form one stream, p = step · batch + position. It goes through all pairs in one
    random order, then in the next (permutation number p // count, element p % count): each pass covers every pair once,
    whatever the batch.

    Args:
        seed, task: of the run.
        step: the fusion update, counted from the start of the run.
        positions: positions in the global batch (0 … batch − 1).
        batch: size of the global batch, at least 1.
        count: number of pairs, at least 1.

    Returns:
        One plan per position.

    Raises:
        ValueError: ``batch`` or ``count`` is less than 1.

    Example:
        >>> sorted(plan.index for step in range(2) for plan in plan_fusion(0, "MIF", step, range(2), 2, 4))
        [0, 1, 2, 3]
    """
    plans = []
    for position in positions:
        turn, place = divmod(step * _positive(batch) + position, _positive(count))
        index = int(_permutation(seed, task, "fusion", turn, count)[place])
        plans.append(_plan(seed, task, "fusion", step, position, index))
    return plans


def plan_noise(seed: int, task: str, phase: Phase, step: int, positions: Sequence[int]) -> list[CropPlan]:
    """Plans which windows of the field of noise (`noise.noise_field`) the images at some positions of a step are given.

    Args:
        seed, task, phase, step: of the run, as for the crops.
        positions: positions in the global batch; each plan depends on its own position only.

    Returns:
        One plan per position, of index 0.
    """
    return [_plan(seed, task, phase, step, position, 0, _NOISE) for position in positions]


def apply_crop(image: NDArray[Any], plan: CropPlan, crop: int) -> NDArray[Any]:
    """Returns the planned crop of all channels alike.

    Sides shorter than the crop are first padded to it on both ends by reflection (edge pixels not repeated), over
    and over where the crop is longer than that; a side of one pixel repeats that pixel.

    Args:
        image: (C, H, W), any type; (2, H, W) for a pair of sources.
        plan: position and flips.
        crop: side of the crop in pixels, at least 1.

    Returns:
        (C, crop, crop), contiguous, of the same type.

    Raises:
        ValueError: ``crop`` is less than 1.

    Example:
        >>> import numpy as np
        >>> image = np.arange(8).reshape(1, 2, 4)
        >>> apply_crop(image, CropPlan(0, top=0.0, left=0.5, flip_horizontal=True, flip_vertical=False), 2).tolist()
        [[[2, 1], [6, 5]]]
    """
    height, width = image.shape[-2:]
    short = [max(0, _positive(crop) - side) for side in (height, width)]
    if any(short):
        image = np.pad(image, [(0, 0), *((missing // 2, missing - missing // 2) for missing in short)], mode="reflect")
        height, width = image.shape[-2:]
    top, left = int(plan.top * (height - crop + 1)), int(plan.left * (width - crop + 1))
    region = image[:, top : top + crop, left : left + crop]
    if plan.flip_vertical:
        region = region[:, ::-1]
    if plan.flip_horizontal:
        region = region[:, :, ::-1]
    return np.ascontiguousarray(region)


def _plan(seed: int, task: str, phase: Phase, step: int, position: int, index: int, use: int = _GEOMETRY) -> CropPlan:
    top, left, flips = (int(word) for word in _words(seed, task, phase, use, step, position, size=3))
    return CropPlan(index, (top >> 11) * 2.0**-53, (left >> 11) * 2.0**-53, bool(flips & 1), bool(flips & 2))


@lru_cache(maxsize=8)
def _permutation(seed: int, task: str, phase: Phase, turn: int, count: int) -> NDArray[np.int64]:
    # Not Generator.permutation: NumPy guarantees only the raw stream from version to version.
    return np.argsort(_words(seed, task, phase, _ORDER, turn, 0, size=count), kind="stable")


def _words(seed: int, task: str, phase: Phase, use: int, step: int, position: int, *, size: int) -> NDArray[np.uint64]:
    """Returns random 64-bit words; names enter by CRC-32, since Python's hash of a string differs between processes."""
    names = (zlib.crc32(task.encode()), zlib.crc32(phase.encode()))
    key = np.random.SeedSequence(seed, spawn_key=(*names, use, step, position))
    return np.random.Philox(key).random_raw(size)


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError(f"the count of pairs, the batch and the crop must be at least 1, got {number}")
    return number
