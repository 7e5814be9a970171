"""GEGLU, gelu(gate) · value, the two being halves of one tensor: without a copy of either, in all derivatives.

gelu(g) = g·Φ(g), gelu' = Φ + g·φ and gelu'' = φ·(2 − g²), with the normal distribution Φ and its density φ.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from refusion.ops.autodiff import differentiable_vjp
from refusion.ops.backend import runs_inductor, runs_on_gpu
from refusion.ops.inductor import Kernel


def geglu(x: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """Exact GELU of the gates times the values: (B, H, W, 2C), gates first, then values, to (B, H', W, C).

    Differentiable to second order: backward and backward, or forward and backward.

    Args:
        rows: rows of x that the result has.

    Example:
        >>> geglu(torch.tensor([[[[100.0, 3.0]], [[-100.0, 3.0]]]])).flatten().tolist()
        [300.0, -0.0]
    """
    out: torch.Tensor = _Geglu.apply(x, rows)
    return out


class SavedGeglu(NamedTuple):
    """`geglu` with all that its vjp needs; no graph leads through it.

    Attributes:
        product: the result, if Inductor's kernels run, which compute it at once; otherwise None.
        gelu: the GELU of the gates, otherwise.
    """

    x: torch.Tensor
    rows: slice
    product: torch.Tensor | None
    gelu: torch.Tensor | None

    @staticmethod
    def of(x: torch.Tensor, rows: slice) -> SavedGeglu:
        """Computes it for the arguments of `geglu`."""
        if runs_inductor():
            return SavedGeglu(x, rows, _VALUE(x[:, rows])[0], None)
        return SavedGeglu(x, rows, None, F.gelu(_halves(x, rows)[0]))

    def value(self) -> torch.Tensor:
        """Result, ``geglu(x, rows)``."""
        if self.product is not None:
            return self.product
        assert self.gelu is not None
        return self.gelu * self.x[:, self.rows].chunk(2, dim=-1)[1]

    def vjp(self, grad: torch.Tensor) -> torch.Tensor:
        """Gradient in x from that in the result; overwrites x."""
        return _vjp(grad, self.x, self.rows, self.gelu, into=self.x)


def geglu_jvp(x: torch.Tensor, tangent: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Result ``geglu(x, rows)`` and its tangent for a tangent of x. Makes no graph."""
    if runs_inductor():
        product, product_tangent = _JVP(x[:, rows], tangent[:, rows])
        return product, product_tangent
    gate, value = _halves(x, rows)
    dgate, dvalue = tangent[:, rows].chunk(2, dim=-1)
    gelu = F.gelu(gate)
    product_tangent = torch.ops.aten.gelu_backward(dgate * value, gate).addcmul_(gelu, dvalue)
    return gelu.mul_(value), product_tangent


def value_formula(x: torch.Tensor) -> tuple[torch.Tensor]:
    """Formula of the result, (..., 2C) to (..., C)."""
    gate, value = x.chunk(2, dim=-1)
    return (gate * _distribution(gate) * value,)


def vjp_formula(grad: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor]:
    """Formula of the gradient in x, (..., 2C), from that in the result."""
    gate, value = x.chunk(2, dim=-1)
    distribution = _distribution(gate)
    derivative = distribution + gate * _density(gate)
    return (torch.cat((grad * value * derivative, grad * gate * distribution), dim=-1),)


def jvp_formula(x: torch.Tensor, dx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Formula of the result and of its tangent for a tangent of x."""
    gate, value = x.chunk(2, dim=-1)
    dgate, dvalue = dx.chunk(2, dim=-1)
    distribution = _distribution(gate)
    gelu = gate * distribution
    return gelu * value, dgate * value * (distribution + gate * _density(gate)) + gelu * dvalue


def vjp_of_jvp_formula(grad: torch.Tensor, x: torch.Tensor, dx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Formula of the gradients in x and in its tangent, (..., 2C) each, from that in the result's tangent."""
    gate, value = x.chunk(2, dim=-1)
    dgate, dvalue = dx.chunk(2, dim=-1)
    distribution, density = _distribution(gate), _density(gate)
    first = grad * (distribution + gate * density)
    second = grad * density * (2 - gate * gate) * dgate
    grad_x = torch.cat((first * dvalue + second * value, first * dgate), dim=-1)
    return grad_x, torch.cat((first * value, grad * gate * distribution), dim=-1)


_VALUE, _VJP, _JVP, _VJP_OF_JVP = (
    Kernel(formula) for formula in (value_formula, vjp_formula, jvp_formula, vjp_of_jvp_formula)
)


def _distribution(gate: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.erf(gate * math.sqrt(0.5)))


def _density(gate: torch.Tensor) -> torch.Tensor:
    return torch.exp(gate * gate * -0.5) * (1 / math.sqrt(2 * math.pi))


def _halves(x: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Gate and value in some rows. The gate is a copy: PyTorch's GELU of a view is four times as slow on a CPU."""
    gate, value = x[:, rows].chunk(2, dim=-1)
    return gate if runs_on_gpu(x) else gate.contiguous(), value


def _vjp(
    grad: torch.Tensor, x: torch.Tensor, rows: slice, gelu: torch.Tensor | None, into: torch.Tensor
) -> torch.Tensor:
    if runs_inductor():
        return _in_all_rows(_VJP(grad, x[:, rows])[0], x, rows)
    gate, value = _halves(x, rows)
    gelu = F.gelu(gate) if gelu is None else gelu
    grad_gelu = grad * value
    grad_gate, grad_value = _only(into, rows).chunk(2, dim=-1)
    torch.mul(grad, gelu, out=grad_value)
    grad_gate.copy_(torch.ops.aten.gelu_backward(grad_gelu, gate))
    return into


def _in_all_rows(grad: torch.Tensor, x: torch.Tensor, rows: slice) -> torch.Tensor:
    """Gradient in all rows of x, given in those where it is not zero."""
    if grad.shape == x.shape:
        return grad
    out = torch.empty_like(x)
    _only(out, rows).copy_(grad)
    return out


def _only(out: torch.Tensor, rows: slice) -> torch.Tensor:
    """View of those rows, to be filled; zeroes the others."""
    first, last, _ = rows.indices(out.shape[1])
    out[:, :first].zero_()
    out[:, last:].zero_()
    return out[:, rows]


class _Geglu(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor, rows: slice) -> torch.Tensor:
        return SavedGeglu.of(x, rows).value()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, slice], output: torch.Tensor) -> None:
        x, ctx.rows = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        rows = ctx.rows
        if torch.is_grad_enabled():
            (found,) = differentiable_vjp(lambda x: value_formula(x[:, rows])[0], [x], [grad])
            return found, None
        return _vjp(grad, x, rows, None, into=torch.empty_like(x)), None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, _: None) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        out: torch.Tensor = _GegluJvp.apply(x, tangent, ctx.rows)
        return out


class _GegluJvp(torch.autograd.Function):
    """Tangent of the result for a tangent of x."""

    @staticmethod
    def forward(x: torch.Tensor, tangent: torch.Tensor, rows: slice) -> torch.Tensor:
        return geglu_jvp(x, tangent, rows)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, slice], output: torch.Tensor) -> None:
        x, tangent, ctx.rows = inputs
        ctx.save_for_backward(x, tangent)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, tangent = ctx.saved_tensors
        rows = ctx.rows
        if runs_inductor():
            grad_x, grad_tangent = _VJP_OF_JVP(grad, x[:, rows], tangent[:, rows])
            return _in_all_rows(grad_x, x, rows), _in_all_rows(grad_tangent, x, rows), None
        gate, value = _halves(x, rows)
        dgate, dvalue = tangent[:, rows].chunk(2, dim=-1)
        square = torch.square(gate)
        density = torch.exp(square * -0.5).mul_(1 / math.sqrt(2 * math.pi))
        second = square.neg_().add_(2).mul_(density)
        distribution = torch.special.ndtr(gate)
        first = torch.addcmul(distribution, gate, density)
        grad_x, grad_tangent = torch.empty_like(x), torch.empty_like(x)
        grad_gate, grad_value = _only(grad_x, rows).chunk(2, dim=-1)
        grad_dgate, grad_dvalue = _only(grad_tangent, rows).chunk(2, dim=-1)
        torch.mul(distribution.mul_(gate), grad, out=grad_dvalue)
        first_grad = first.mul_(grad)
        torch.mul(first_grad, dgate, out=grad_value)
        torch.mul(first_grad, value, out=grad_dgate)
        torch.mul(first_grad, dvalue, out=grad_gate)
        grad_gate.addcmul_(second.mul_(grad).mul_(dgate), value)
        return grad_x, grad_tangent, None
