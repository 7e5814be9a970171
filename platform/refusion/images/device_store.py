"""Pairs in a GPU's memory, and batches of crops from it without a copy or a wait in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refusion.images.crops import CropPlan
from refusion.images.store import PairStore


class DevicePlanes:
    """Groups of planes of one size each, such as pairs of sources, in one stretch of a device's memory.

    Args:
        groups: each (C, H, W) with its own H and W, float32.
        device: to hold them.

    Example:
        >>> groups = [np.arange(12, dtype=np.float32).reshape(1, 3, 4)]
        >>> planes = DevicePlanes(groups, torch.device("cpu"))
        >>> plan = CropPlan(0, top=0.0, left=0.99, flip_horizontal=True, flip_vertical=False)
        >>> planes.cut(planes.windows([plan], 2), 2).tolist()
        [[[[3.0, 2.0], [7.0, 6.0]]]]
    """

    def __init__(self, groups: Sequence[NDArray[np.float32]], device: torch.device) -> None:
        self.channels = groups[0].shape[0]
        self.sizes = [group.shape[-2:] for group in groups]
        ends = np.cumsum([group.size for group in groups])
        self.starts = [0, *(int(end) for end in ends[:-1])]
        self.values = torch.from_numpy(np.concatenate([group.ravel() for group in groups])).to(device)

    def windows(self, plans: Sequence[CropPlan], crop: int) -> Tensor:
        """Returns where the planned crops begin and how they run, int64 (B, 4), on the host: all that must be copied.

        The columns are the first value's place, the step from row to row, from column to column, and from plane to
        plane.
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
            rows.append((self.starts[plan.index] + top * width + left, down, right, height * width))
        return torch.tensor(rows, dtype=torch.int64)

    def cut(self, windows: Tensor, crop: int) -> Tensor:
        """Returns the crops, (B, C, crop, crop), of windows that are on the device."""
        steps = torch.arange(crop, device=windows.device)
        start, down, right, plane = (column[:, None, None, None] for column in windows.unbind(dim=1))
        planes = torch.arange(self.channels, device=windows.device)[:, None, None]
        return self.values[start + planes * plane + down * steps[:, None] + right * steps]


def pairs_on_device(store: PairStore, crop: int, device: torch.device, limit_bytes: int) -> DevicePlanes | None:
    """Puts a store's luminance planes on a device, or returns None where they take more than the limit.

    Sides shorter than the crop are padded as `crops.apply_crop` does, so that its crops are the same.
    """
    if sum(8 * pair.height * pair.width for pair in store.pairs) > limit_bytes:
        return None
    return DevicePlanes([_padded(store.sources(index), crop) for index in range(len(store))], device)


def _padded(sources: NDArray[np.float32], crop: int) -> NDArray[np.float32]:
    short = [max(0, crop - side) for side in sources.shape[-2:]]
    padding = [(0, 0), *((missing // 2, missing - missing // 2) for missing in short)]
    return np.pad(sources, padding, mode="reflect") if any(short) else sources
