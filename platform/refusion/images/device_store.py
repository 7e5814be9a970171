"""Pairs in a GPU's memory, and batches of crops from it without a copy or a wait in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refusion.images.colour import luminance
from refusion.images.crops import CropPlan
from refusion.images.store import Kept, PairStore, as_unit


class DevicePlanes:
    """Groups of planes of one size each, such as pairs of sources, in a device's memory.

    What is uint8 throughout, such as all infrared sources, takes a byte a pixel; its values are looked up in a table,
    so that they are to the bit those of `colour.luminance`.

    Args:
        groups: of as many planes (H, W) each, a group with its own H and W; float32, or uint8 for values of 255ths.
        device: to hold them.

    Example:
        >>> groups = [[np.arange(12, dtype=np.float32).reshape(3, 4)]]
        >>> planes = DevicePlanes(groups, torch.device("cpu"))
        >>> plan = CropPlan(0, top=0.0, left=0.99, flip_horizontal=True, flip_vertical=False)
        >>> planes.cut(planes.windows([plan], 2), 2).tolist()
        [[[[3.0, 2.0], [7.0, 6.0]]]]
    """

    def __init__(self, groups: Sequence[Sequence[Kept]], device: torch.device) -> None:
        self.sizes = [group[0].shape for group in groups]
        ends = np.cumsum([group[0].size for group in groups])
        self.starts = [0, *(int(end) for end in ends[:-1])]
        self.channels = [_joined([group[channel] for group in groups]).to(device) for channel in range(len(groups[0]))]
        self._greys = torch.from_numpy(luminance(np.arange(256, dtype=np.uint8)[None])[0]).to(device)

    @property
    def bytes(self) -> int:
        """Bytes that the planes take."""
        return sum(values.nbytes for values in self.channels)

    def windows(self, plans: Sequence[CropPlan], crop: int) -> Tensor:
        """Returns where the planned crops begin and how they run, int64 (B, 3), on the host: all that must be copied.

        The columns are the first value's place, the step from row to row, and from column to column.
        """
        rows = []
        for plan in plans:
            height, width = self.sizes[plan.index]
            if min(height, width) < crop:
                raise ValueError(f"a plane of {width}×{height} is smaller than the crop of {crop}")
            top, left = int(plan.top * (height - crop + 1)), int(plan.left * (width - crop + 1))
            top += (crop - 1) * plan.flip_vertical
            left += (crop - 1) * plan.flip_horizontal
            down, right = width * (1 - 2 * plan.flip_vertical), 1 - 2 * plan.flip_horizontal
            rows.append((self.starts[plan.index] + top * width + left, down, right))
        return torch.tensor(rows, dtype=torch.int64)

    def cut(self, windows: Tensor, crop: int) -> Tensor:
        """Returns the crops, (B, C, crop, crop) float32, of windows that are on the device."""
        steps = torch.arange(crop, device=windows.device)
        start, down, right = (column[:, None, None] for column in windows.unbind(dim=1))
        places = start + down * steps[:, None] + right * steps
        return torch.stack([self._unit(values[places]) for values in self.channels], dim=1)

    def _unit(self, values: Tensor) -> Tensor:
        return self._greys[values.int()] if values.dtype == torch.uint8 else values


def pairs_on_device(store: PairStore, crop: int, device: torch.device, limit_bytes: int) -> DevicePlanes | None:
    """Puts a store's luminance planes on a device, or returns None where they take more than the limit.

    Sides shorter than the crop are padded as `crops.apply_crop` does, so that its crops are the same.
    """
    pixels = [max(pair.height, crop) * max(pair.width, crop) for pair in store.pairs]
    groups: list[tuple[NDArray[Any], ...]] = []
    bytes_each = np.ones(2, int)
    for index in range(len(store)):
        # No more is read than shows that it is too much.
        if int(bytes_each.sum()) * sum(pixels) > limit_bytes:
            return None
        groups.append(tuple(_padded(plane, crop) for plane in store.planes(index)))
        bytes_each = np.maximum(bytes_each, [plane.itemsize for plane in groups[-1]])
    return DevicePlanes(groups, device) if int(bytes_each.sum()) * sum(pixels) <= limit_bytes else None


def _joined(planes: Sequence[Kept]) -> Tensor:
    if any(plane.dtype != np.uint8 for plane in planes):
        planes = [as_unit(plane) for plane in planes]
    return torch.from_numpy(np.concatenate([plane.ravel() for plane in planes]))


def _padded(plane: Kept, crop: int) -> Kept:
    short = [max(0, crop - side) for side in plane.shape]
    padding = [(missing // 2, missing - missing // 2) for missing in short]
    if not any(short):
        return plane
    padded: Kept = np.pad(plane, padding, mode="reflect")  # type: ignore[assignment]
    return padded
