"""Memory that a network needs for a whole picture at once, found on a small one, and the refusal where it is not there.

The built-in network needs no such check: it is computed strip by strip.
"""

from __future__ import annotations

import weakref
from typing import Any

import psutil
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from refusion.errors import UserError

# Smaller pictures have not been found to lack memory; what is measured would cost them time.
LEAST_PIXELS = 4_000_000
_SIDE = 256


def check_room(module: nn.Module, sources: torch.Tensor) -> None:
    """Checks that a forward pass through whole pictures (B, 2, H, W) has the memory that it needs.

    Raises:
        UserError: it has not, by what it takes for a small part of them, as much more as they are larger.
    """
    batch, _, height, width = sources.shape
    if batch * height * width < LEAST_PIXELS:
        return
    part = sources[:1, :, : min(height, _SIDE), : min(width, _SIDE)]
    needed = peak_of_forward(module, part) * sources.numel() / part.numel()
    free = _free(sources.device)
    if needed > free:
        raise UserError(
            f"{type(module).__name__}: a picture of {width}×{height} pixels needs about {needed / 1e9:.0f} GB of "
            f"memory, of which {free / 1e9:.0f} are free, since it is computed as a whole (the built-in network is "
            "not): reduce the picture, or fuse it where there is more memory"
        )


def peak_of_forward(module: nn.Module, sources: torch.Tensor) -> int:
    """Returns the most bytes of results that a forward pass holds at a time, without gradients.

    >>> peak_of_forward(nn.Sequential(nn.Identity(), nn.Tanh(), nn.Tanh()), torch.zeros(1, 2, 8, 8))
    1024
    """
    live = _Live()
    with torch.no_grad(), live:
        module(sources)
    return live.most


class _Live(TorchDispatchMode):
    """Adds up the bytes of what operations return while it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = {_storage(tensor)._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = _storage(tensor)
                if storage._cdata not in self._known | inputs:
                    self._known.add(storage._cdata)
                    self._now += storage.nbytes()
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        self.most = max(self.most, self._now)
        return out

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
