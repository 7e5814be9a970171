"""LayerNorm over the channels of channels-last tensors, with a forward-mode derivative that can be differentiated.

PyTorch 2.13 has forward-mode formulas for its LayerNorm, but a backward pass through their result leaves terms out,
and the Hessian of the fusion loss needs just that pass.

With x̂ = rstd·(x − mean), the Jacobian of x̂ in x is J = rstd·(1 − mean(·) − x̂·mean(x̂ ·)): symmetric, and dependent
on x by way of rstd and doubly of x̂.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from refusion.ops.backend import runs_inductor, runs_triton
from refusion.ops.inductor import Kernel

EPS = 1e-5


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """x (..., C) less its mean over the channels, divided by their deviation (biased, eps 1e-5), times weight + bias.

    Differentiable to second order: backward and backward, or forward and backward.

    Args:
        weight, bias: (C).

    Example:
        >>> layer_norm(torch.tensor([[1.0, 3.0]]), torch.ones(2), torch.tensor([0.0, 5.0]))
        tensor([[-1.0000,  6.0000]])
    """
    out: torch.Tensor = _LayerNorm.apply(x, weight, bias)[0]
    return out


class SavedLayerNorm(NamedTuple):
    """`layer_norm` with all that its derivatives need; no graph leads through it."""

    out: torch.Tensor
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    rstd: torch.Tensor

    @staticmethod
    def of(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> SavedLayerNorm:
        """Computes it for the arguments of `layer_norm`."""
        if runs_inductor():
            out, mean, rstd = _VALUE(x, weight, bias)
            return SavedLayerNorm(out, x, weight, bias, mean, rstd)
        kernels = _kernels(x)
        if kernels is None:
            out, mean, rstd = torch.native_layer_norm(x, (x.shape[-1],), weight, bias, EPS)
        else:
            out, mean, rstd = kernels.value(x, weight, bias, EPS)
        return SavedLayerNorm(out, x, weight, bias, mean, rstd)

    def vjp(
        self, grad: torch.Tensor, parameters_need_grad: Sequence[bool] = (True, True)
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Gradients in x and, if needed, in weight and bias."""
        grad_x, grad_weight, grad_bias = _vjp(grad, self[1:], [True, *parameters_need_grad])
        assert grad_x is not None
        return grad_x, grad_weight, grad_bias

    def jvp(self, dx: torch.Tensor, dweight: torch.Tensor, dbias: torch.Tensor) -> torch.Tensor:
        """Tangent of the result for tangents of x, weight and bias."""
        return _jvp(self.x, self.weight, self.mean, self.rstd, dx, dweight, dbias)


def value_formula(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Formula of the result of (pixels, C), and of mean (pixels, 1) and rstd (pixels, 1)."""
    mean = _mean(x)
    centred = x - mean
    rstd = torch.rsqrt(_mean(centred * centred) + EPS)
    return centred * rstd * weight + bias, mean, rstd


def jvp_formula(
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    dbias: torch.Tensor,
) -> tuple[torch.Tensor]:
    """Formula of the result's tangent for tangents of x, weight and bias."""
    scaled = (x - mean) * rstd
    return (_jacobian_formula(dx, scaled, rstd) * weight + scaled * dweight + dbias,)


def vjp_of_jvp_formula(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Formula of the gradients in x, weight and the tangents of x, weight and bias, from that in the result's."""
    scaled = (x - mean) * rstd
    scaled_tangent = _jacobian_formula(dx, scaled, rstd)
    weighted = grad * weight
    along_grad, along_tangent = (rstd * _mean(one * scaled) for one in (weighted, dx))
    joint = rstd * _mean(weighted * scaled_tangent)
    inner = grad * dweight - weighted * along_tangent - dx * along_grad
    grad_x = _jacobian_formula(inner, scaled, rstd) - scaled * joint
    grad_weight, grad_dweight = (grad * scaled_tangent).sum(dim=0), (grad * scaled).sum(dim=0)
    return grad_x, grad_weight, _jacobian_formula(weighted, scaled, rstd), grad_dweight, grad.sum(dim=0)


_VALUE, _JVP, _VJP_OF_JVP = (Kernel(formula) for formula in (value_formula, jvp_formula, vjp_of_jvp_formula))


def _jacobian_formula(z: torch.Tensor, scaled: torch.Tensor, rstd: torch.Tensor) -> torch.Tensor:
    """J applied to a gradient or a tangent."""
    return rstd * (z - _mean(z) - scaled * _mean(z * scaled))


def _kernels(x: torch.Tensor) -> ModuleType | None:
    """The Triton kernels, where they run and serve this tensor."""
    if not runs_triton(x):
        return None
    # Only here is it known that there is Triton.
    import refusion.ops.kernels.layer_norm as kernels

    return kernels if kernels.serves(x) else None


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=-1, keepdim=True)


def _vjp(
    grad: torch.Tensor, saved: Sequence[torch.Tensor], needs_grad: list[bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Gradients in x, weight and bias, those that are needed; saved are these three, mean and rstd."""
    x, weight, bias, mean, rstd = saved
    kernels = _kernels(x)
    # A graph through the gradients, for a second backward pass, is PyTorch's business.
    if kernels is not None and not torch.is_grad_enabled():
        found: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
        found = kernels.vjp(grad, x, weight, mean, rstd, any(needs_grad[1:]))
        return found
    grads: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]
    grads = torch.ops.aten.native_layer_norm_backward(
        grad.contiguous(), x, (x.shape[-1],), mean, rstd, weight, bias, needs_grad
    )
    return grads


def _jvp(
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    dbias: torch.Tensor,
) -> torch.Tensor:
    if runs_inductor():
        return _JVP(x, weight, mean, rstd, dx, dweight, dbias)[0]
    out = _jacobian(dx, x, mean, rstd).mul_(weight).add_(dbias)
    return out.addcmul_((x - mean).mul_(rstd), dweight)


def _jacobian(z: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor) -> torch.Tensor:
    """J applied to a gradient or a tangent of x's shape."""
    (out, _, _) = torch.ops.aten.native_layer_norm_backward(
        z, x, (x.shape[-1],), mean, rstd, None, None, [True, False, False]
    )
    result: torch.Tensor = out
    return result


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        saved = SavedLayerNorm.of(x, weight, bias)
        return saved.out, saved.mean, saved.rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
        x, weight, bias = inputs
        _, mean, rstd = output
        ctx.mark_non_differentiable(mean, rstd)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.save_for_forward(x, weight, bias, mean, rstd)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        return _vjp(grad, ctx.saved_tensors, list(ctx.needs_input_grad))

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight, _, mean, rstd = ctx.saved_tensors
        return _LayerNormJvp.apply(x, weight, mean, rstd, *tangents), None, None


class _LayerNormJvp(torch.autograd.Function):
    """Tangent of the result for tangents of x, weight and bias."""

    @staticmethod
    def forward(
        x: torch.Tensor,
        weight: torch.Tensor,
        mean: torch.Tensor,
        rstd: torch.Tensor,
        dx: torch.Tensor,
        dweight: torch.Tensor,
        dbias: torch.Tensor,
    ) -> torch.Tensor:
        return _jvp(x, weight, mean, rstd, dx, dweight, dbias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, rstd, dx, dweight = ctx.saved_tensors
        if runs_inductor():
            grad_x, grad_weight, *grad_tangents = _VJP_OF_JVP(grad, *ctx.saved_tensors)
            return grad_x, grad_weight, None, None, *grad_tangents
        scaled = (x - mean).mul_(rstd)
        scaled_tangent = _jacobian(dx, x, mean, rstd)
        weighted = grad * weight
        along_grad = (weighted * scaled).mean(dim=-1, keepdim=True).mul_(rstd)
        along_tangent = (dx * scaled).mean(dim=-1, keepdim=True).mul_(rstd)
        joint = (weighted * scaled_tangent).mean(dim=-1, keepdim=True).mul_(rstd)
        inner = (grad * dweight).addcmul_(weighted, along_tangent, value=-1).addcmul_(dx, along_grad, value=-1)
        grad_x = _jacobian(inner, x, mean, rstd).addcmul_(scaled, joint, value=-1)
        grad_dx = _jacobian(weighted, x, mean, rstd) if ctx.needs_input_grad[4] else None
        dims = tuple(range(grad.ndim - 1))
        grad_weight = (grad * scaled_tangent).sum(dim=dims)
        grad_dweight = (grad * scaled).sum(dim=dims) if ctx.needs_input_grad[5] else None
        grad_dbias = grad.sum(dim=dims) if ctx.needs_input_grad[6] else None
        return grad_x, grad_weight, None, None, grad_dx, grad_dweight, grad_dbias
