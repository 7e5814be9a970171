"""What a hand-written backward pass does when a graph of the gradient is wanted: it goes the plain way instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def differentiable_backward(
    plain: Callable[..., Any], inputs: Sequence[torch.Tensor], slopes: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The slopes pulled back through ``plain(*inputs)`` so that the result can be differentiated once more.

    For `backward` of an autograd function under ``create_graph=True``: its fast form writes into buffers, which
    autograd cannot follow.
    """
    with torch.enable_grad():
        held = [tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in inputs]
        outputs = plain(*held)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return torch.autograd.grad(outputs, held, slopes, create_graph=True)
