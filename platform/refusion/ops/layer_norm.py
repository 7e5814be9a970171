"""LayerNorm over the channels of channels-last tensors, with a forward-mode derivative that can be differentiated.

PyTorch 2.13 has forward-mode formulas for its LayerNorm, but a backward pass through their result leaves terms out,
and the Hessian of the fusion loss needs just that pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

import refusion.ops.normalisation_formulas as formulas
from refusion.ops.backend import runs_inductor
from refusion.ops.inductor import Loop

_NORM, _CHANGE, _SLOPES_OF_CHANGE = (
    Loop(formula) for formula in (formulas.norm, formulas.change, formulas.slopes_of_change)
)


def channel_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """x (..., C) less its mean over the channels, divided by their deviation (biased, eps 1e-5), times weight + bias.

    Differentiable twice: backward and backward, or forward and backward.
    """
    out: torch.Tensor = _Norm.apply(x, weight, bias)[0]
    return out


class Normalised(NamedTuple):
    """The same with what its derivatives need; no graph leads through it."""

    out: torch.Tensor
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    rstd: torch.Tensor

    @staticmethod
    def of(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Normalised:
        """`channel_norm` of the same arguments."""
        if runs_inductor():
            out, mean, rstd = _NORM(x, weight, bias)
            return Normalised(out, x, weight, bias, mean, rstd)
        out, mean, rstd = torch.native_layer_norm(x, (x.shape[-1],), weight, bias, formulas.EPS)
        return Normalised(out, x, weight, bias, mean, rstd)

    def backward(
        self, slope: torch.Tensor, parameters_too: Sequence[bool] = (True, True)
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Slopes in x and, if wanted, in weight and bias."""
        of_x, of_weight, of_bias = _slopes(slope, self[1:], [True, *parameters_too])
        assert of_x is not None
        return of_x, of_weight, of_bias

    def change(self, dx: torch.Tensor, dweight: torch.Tensor, dbias: torch.Tensor) -> torch.Tensor:
        """The change of the result for changes of x, weight and bias."""
        return _change(self.x, self.weight, self.mean, self.rstd, dx, dweight, dbias)


def _slopes(
    slope: torch.Tensor, saved: Sequence[torch.Tensor], wanted: list[bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """In x, weight and bias, those that are wanted; saved are these three, mean and rstd."""
    x, weight, bias, mean, rstd = saved
    found: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]
    found = torch.ops.aten.native_layer_norm_backward(
        slope.contiguous(), x, (x.shape[-1],), mean, rstd, weight, bias, wanted
    )
    return found


def _change(
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    dbias: torch.Tensor,
) -> torch.Tensor:
    if runs_inductor():
        return _CHANGE(x, weight, mean, rstd, dx, dweight, dbias)[0]
    out = _pull_back(dx, x, mean, rstd).mul_(weight).add_(dbias)
    return out.addcmul_((x - mean).mul_(rstd), dweight)


def _pull_back(slope: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor) -> torch.Tensor:
    """The symmetric Jacobian of the normalised x, applied to a slope (or a change) of the same shape."""
    (out, _, _) = torch.ops.aten.native_layer_norm_backward(
        slope, x, (x.shape[-1],), mean, rstd, None, None, [True, False, False]
    )
    result: torch.Tensor = out
    return result


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        made = Normalised.of(x, weight, bias)
        return made.out, made.mean, made.rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
        x, weight, bias = inputs
        _, mean, rstd = output
        ctx.mark_non_differentiable(mean, rstd)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.save_for_forward(x, weight, bias, mean, rstd)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        return _slopes(slope, ctx.saved_tensors, list(ctx.needs_input_grad))

    @staticmethod
    def jvp(ctx: Any, *changes: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight, _, mean, rstd = ctx.saved_tensors
        return _NormChange.apply(x, weight, mean, rstd, *changes), None, None


class _NormChange(torch.autograd.Function):
    """The change of the normalised x for changes of x, weight and bias."""

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
        return _change(x, weight, mean, rstd, dx, dweight, dbias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, rstd, dx, dweight = ctx.saved_tensors
        if runs_inductor():
            in_x, in_weight, *in_changes = _SLOPES_OF_CHANGE(slope, *ctx.saved_tensors)
            return in_x, in_weight, None, None, *in_changes
        scaled = (x - mean).mul_(rstd)
        moved = _pull_back(dx, x, mean, rstd)
        weighted = slope * weight
        # The Jacobian J = rstd·(1 − mean − x̂ mean(x̂ ·)) depends on x through rstd and twice through x̂.
        along_slope = (weighted * scaled).mean(dim=-1, keepdim=True).mul_(rstd)
        along_change = (dx * scaled).mean(dim=-1, keepdim=True).mul_(rstd)
        joint = (weighted * moved).mean(dim=-1, keepdim=True).mul_(rstd)
        inner = (slope * dweight).addcmul_(weighted, along_change, value=-1).addcmul_(dx, along_slope, value=-1)
        of_x = _pull_back(inner, x, mean, rstd).addcmul_(scaled, joint, value=-1)
        of_dx = _pull_back(weighted, x, mean, rstd) if ctx.needs_input_grad[4] else None
        dims = tuple(range(slope.ndim - 1))
        of_weight = (slope * moved).sum(dim=dims)
        of_dweight = (slope * scaled).sum(dim=dims) if ctx.needs_input_grad[5] else None
        of_dbias = slope.sum(dim=dims) if ctx.needs_input_grad[6] else None
        return of_x, of_weight, None, None, of_dx, of_dweight, of_dbias
