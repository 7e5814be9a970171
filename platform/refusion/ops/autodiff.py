"""Forward-mode derivatives inside and outside of others, and hand-written backward passes that autograd can follow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad


def in_forward_mode() -> bool:
    """Tells whether tensors may carry tangents now."""
    return forward_ad._current_level >= 0


def jvp(
    function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], tangents: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """``function(*inputs)`` and its tangent, the Jacobian times the tangents; both can be differentiated backward.

    PyTorch knows one level of forward mode, which this joins if it is there. `torch.func.jvp` would open a level of its
    own, and functions with hand-written derivatives could not tell a tensor's tangent from its value there.

    Args:
        inputs: tensors; tangents that they carry already do not count.
        tangents: as many, of the same shapes.
    """
    level = contextlib.nullcontext() if in_forward_mode() else forward_ad.dual_level()
    with level, forward_ad._set_fwd_grad_enabled(True):
        # A function with a derivative of its own finds its saved inputs as they were given, with their tangents.
        primals = [forward_ad.unpack_dual(tensor).primal for tensor in inputs]
        duals = [forward_ad.make_dual(tensor, tangent) for tensor, tangent in zip(primals, tangents, strict=True)]
        value, tangent = forward_ad.unpack_dual(function(*duals))
    return value, torch.zeros_like(value) if tangent is None else tangent


def differentiable_vjp(
    reference: Callable[..., Any], inputs: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The vjp of ``reference(*inputs)``, which itself can be differentiated once more.

    For `backward` of an autograd function under ``create_graph=True``: its fast form writes into buffers, which
    autograd cannot follow.

    Args:
        grads: gradients in the results of ``reference``, as many as it has.

    Returns:
        Gradients in the inputs.
    """
    with torch.enable_grad():
        leaves = [tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in inputs]
        outputs = reference(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return torch.autograd.grad(outputs, leaves, grads, create_graph=True)
