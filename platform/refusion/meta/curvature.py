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
from refusion.objectives import FusionWeights
from refusion.ops.autodiff import jvp

Loss = Callable[[torch.Tensor, torch.Tensor, FusionWeights], torch.Tensor]
"""L_f of a fused image, the sources and the weights, its coefficients chosen."""

_ATTRIBUTE = "supports_vjp_of_jvp"


def tangent_of_image(fusion: nn.Module, theta: torch.Tensor, direction: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """u = J_F(θ; x) · direction, (B, 1, H, W): forward mode, or twice backward where an operation has none."""
    function = partial(call, fusion, inputs=x)
    with torch.no_grad(), record_function("change of image"):
        try:
            return jvp(function, [theta], [direction])[1]
        except NotImplementedError:
            return _tangent_by_double_backward(function, theta, direction)


def curvature_along(
    fusion: nn.Module,
    theta: torch.Tensor,
    direction: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss_of: Loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """H · direction, H being the Hessian of L_f in θ with w fixed, and by the way u = J_F(θ; x) · direction."""
    given = fusion, theta, direction, x, weights, loss_of
    with torch.enable_grad(), record_function("curvature"):
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
    fusion: nn.Module,
    theta: torch.Tensor,
    direction: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss_of: Loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The fastest, for modules whose forward-mode derivative can be differentiated backward."""
    theta = leaf(theta)
    fused, tangent = jvp(partial(call, fusion, inputs=x), [theta], [direction])
    loss = loss_of(fused, x, weights)
    (grad,) = torch.autograd.grad(loss, fused, create_graph=True)
    # ⟨∂L_f/∂f, u⟩ is how fast L_f changes along the direction; its gradient in θ is the Hessian's product.
    (curvature,) = torch.autograd.grad((grad * tangent).sum(), theta)
    return curvature, tangent.detach()


def _forward_over_backward(
    fusion: nn.Module,
    theta: torch.Tensor,
    direction: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss_of: Loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For any module of PyTorch's own operations, in more time and memory."""

    def loss(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fused = call(fusion, parameters, x)
        return loss_of(fused, x, weights), fused

    def grad(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, pull_back, fused = torch.func.vjp(loss, parameters, has_aux=True)  # type: ignore[misc]
        # Not `torch.func.grad`: it always asks for the graph of the gradient, which forward mode does not need.
        (result,) = pull_back(torch.ones_like(value), retain_graph=False, create_graph=False)
        return result, fused

    curvature, tangent = torch.func.jvp(grad, (theta,), (direction,))[1]
    return curvature.detach(), tangent.detach()


def _double_backward(
    fusion: nn.Module,
    theta: torch.Tensor,
    direction: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss_of: Loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For any module that is twice differentiable, as the textbook does it."""
    tangent = tangent_of_image(fusion, theta, direction, x)
    theta = leaf(theta)
    loss = loss_of(call(fusion, theta, x), x, weights)
    (grad,) = torch.autograd.grad(loss, theta, create_graph=True)
    (curvature,) = torch.autograd.grad(grad, theta, direction)
    return curvature, tangent


def _tangent_by_double_backward(
    function: Callable[[torch.Tensor], torch.Tensor], theta: torch.Tensor, direction: torch.Tensor
) -> torch.Tensor:
    """J · direction as the gradient, in w, of ⟨Jᵀw, direction⟩."""
    with torch.enable_grad():
        theta = leaf(theta)
        value = function(theta)
        free = torch.zeros_like(value, requires_grad=True)
        (pulled_back,) = torch.autograd.grad(value, theta, free, create_graph=True)
        (tangent,) = torch.autograd.grad(pulled_back, free, direction)
    return tangent
