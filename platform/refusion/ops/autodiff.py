"""Forward-mode derivatives inside and outside of others: PyTorch knows one level, which this one joins if it is there.

`torch.func.jvp` would open a level of its own, and functions with hand-written derivatives could not tell a tensor's
change from its value there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch.autograd import forward_ad


def in_forward_mode() -> bool:
    """Whether tensors may carry changes now."""
    return forward_ad._current_level >= 0


def with_change(
    function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], changes: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """``function(*inputs)`` and its change (the Jacobian times the changes); both can be differentiated backward.

    Args:
        inputs: tensors; changes that they carry already do not count.
        changes: as many, of the same shapes.
    """
    level = contextlib.nullcontext() if in_forward_mode() else forward_ad.dual_level()
    with level, forward_ad._set_fwd_grad_enabled(True):
        # A function with a derivative of its own finds its saved inputs as they were given, with their changes.
        values = [forward_ad.unpack_dual(tensor).primal for tensor in inputs]
        moving = [forward_ad.make_dual(tensor, change) for tensor, change in zip(values, changes, strict=True)]
        value, change = forward_ad.unpack_dual(function(*moving))
    return value, torch.zeros_like(value) if change is None else change
