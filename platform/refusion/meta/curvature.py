"""Derivatives along a direction in the fusion module's parameters: of its image, and of its gradient.

There are three ways to the Hessian's product, each exact where it can be gone; which one depends on the module. All
take a module as a function of one flat vector of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.profiler import record_function

from refusion.meta.functional import call, leaf
from refusion.objectives import FusionWeights, Loss
from refusion.ops.autodiff import jvp

Function = Callable[[torch.Tensor], torch.Tensor]

_ATTRIBUTE = "supports_vjp_of_jvp"


def tangent_of_image(fusion: nn.Module, theta: torch.Tensor, direction: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Returns u = J_F(θ; x) · direction, (B, 1, H, W): forward mode, or twice backward where an operation has none."""
    return _tangent(partial(call, fusion, inputs=x), theta, direction)


def curvature_along(
    fusion: nn.Module,
    theta: torch.Tensor,
    direction: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss: Loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns H · direction, H the Hessian of L_f in θ with w fixed, and u = J_F(θ; x) · direction with it."""
    given = partial(call, fusion, inputs=x), lambda fused: loss(fused, x, weights), theta, direction
    with torch.enable_grad(), record_function("Hessian product"):
        if _is_differentiable_through_tangent(fusion):
            return _backward_over_forward(*given)
        # Our own operations, inside another module, have no derivative for torch.func's forward mode.
        if any(getattr(module, _ATTRIBUTE, False) for module in fusion.modules()):
            return _double_backward(*given)
        try:
            return _forward_over_backward(*given)
        except RuntimeError:  # an operation without forward mode, or one that torch.func refuses
            return _double_backward(*given)


def _is_differentiable_through_tangent(fusion: nn.Module) -> bool:
    """Returns what the class says that defines the forward pass; a class that overrides it must say so itself."""
    # torch.compile wraps a module in another.
    kind = type(getattr(fusion, "_orig_mod", fusion))
    author = next(parent for parent in kind.__mro__ if "forward" in vars(parent))
    return bool(vars(author).get(_ATTRIBUTE, False))


def _backward_over_forward(
    image_of: Function, loss_of: Function, theta: torch.Tensor, direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns both the fastest way, for modules whose forward-mode derivative can be differentiated backward."""
    theta = leaf(theta)
    fused, tangent = jvp(image_of, [theta], [direction])
    (grad,) = torch.autograd.grad(loss_of(fused), fused, create_graph=True)
    # ⟨∂L_f/∂f, u⟩ is the derivative of L_f along the direction; its gradient in θ is the Hessian's product.
    (curvature,) = torch.autograd.grad((grad * tangent).sum(), theta)
    return curvature, tangent.detach()


def _forward_over_backward(
    image_of: Function, loss_of: Function, theta: torch.Tensor, direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns both for any module of PyTorch's own operations, in more time and memory."""

    def value_of(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fused = image_of(parameters)
        return loss_of(fused), fused

    def grad_of(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, vjp, fused = torch.func.vjp(value_of, parameters, has_aux=True)  # type: ignore[misc]
        # Not `torch.func.grad`: it always asks for the graph of the gradient, which forward mode does not need.
        (grad,) = vjp(torch.ones_like(value), retain_graph=False, create_graph=False)
        return grad, fused

    curvature, tangent = torch.func.jvp(grad_of, (theta,), (direction,))[1]
    return curvature.detach(), tangent.detach()


def _double_backward(
    image_of: Function, loss_of: Function, theta: torch.Tensor, direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns both for any module that is twice differentiable, as the textbook does it."""
    tangent = _tangent(image_of, theta, direction)
    theta = leaf(theta)
    (grad,) = torch.autograd.grad(loss_of(image_of(theta)), theta, create_graph=True)
    (curvature,) = torch.autograd.grad(grad, theta, direction)
    return curvature, tangent


def _tangent(image_of: Function, theta: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Returns the image's tangent, without a graph."""
    with torch.no_grad(), record_function("image tangent"):
        try:
            return jvp(image_of, [theta], [direction])[1]
        except NotImplementedError:
            return _tangent_by_double_backward(image_of, theta, direction)


def _tangent_by_double_backward(function: Function, theta: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Returns J · direction as the gradient, in w, of ⟨Jᵀw, direction⟩."""
    with torch.enable_grad():
        theta = leaf(theta)
        value = function(theta)
        free = torch.zeros_like(value, requires_grad=True)
        (vjp,) = torch.autograd.grad(value, theta, free, create_graph=True)
        (tangent,) = torch.autograd.grad(vjp, free, direction)
    return tangent
