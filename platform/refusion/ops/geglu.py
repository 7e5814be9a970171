"""gelu(gate) · value, the two being halves of one tensor: without a copy of either, in both directions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

import refusion.ops.gating_formulas as formulas
from refusion.ops.autodiff import differentiable_vjp
from refusion.ops.backend import runs_inductor
from refusion.ops.inductor import Loop

_PRODUCT, _SLOPE, _CHANGE, _SLOPES_OF_CHANGE = (
    Loop(formula) for formula in (formulas.product, formulas.slope, formulas.change, formulas.slopes_of_change)
)


def gated(both: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """(B, H, W, 2C), gates first, then values, to (B, H', W, C): the exact GELU of the gates times the values.

    Differentiable twice: backward and backward, or forward and backward.

    Args:
        rows: which of the rows are wanted.
    """
    out: torch.Tensor = _Gated.apply(both, rows)
    return out


class Gated(NamedTuple):
    """The same with what its slope needs; no graph leads through it.

    Attributes:
        product: made already, where loops are compiled; otherwise `opened`, the GELU of the gates, is.
    """

    both: torch.Tensor
    rows: slice
    product: torch.Tensor | None
    opened: torch.Tensor | None

    @staticmethod
    def of(both: torch.Tensor, rows: slice) -> Gated:
        """`gated` of the same arguments."""
        if runs_inductor():
            return Gated(both, rows, _PRODUCT(both[:, rows])[0], None)
        return Gated(both, rows, None, F.gelu(_halves(both, rows)[0]))

    def result(self) -> torch.Tensor:
        """`gated(both, rows)`."""
        if self.product is not None:
            return self.product
        assert self.opened is not None
        return self.opened * self.both[:, self.rows].chunk(2, dim=-1)[1]

    def backward(self, slope: torch.Tensor) -> torch.Tensor:
        """The slope in `both` from that in the result; uses up what it holds."""
        return _backward(slope, self.both, self.rows, self.opened, into=self.both)


def gated_change(both: torch.Tensor, change: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """`gated(both, rows)` and its change for a change of `both`, of the same shape. Makes no graph."""
    if runs_inductor():
        product, moved = _CHANGE(both[:, rows], change[:, rows])
        return product, moved
    gate, value = _halves(both, rows)
    of_gate, of_value = change[:, rows].chunk(2, dim=-1)
    opened = F.gelu(gate)
    moved = torch.ops.aten.gelu_backward(of_gate * value, gate).addcmul_(opened, of_value)
    return opened.mul_(value), moved


def _halves(both: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Gate and value in some rows. The gate is a copy: PyTorch's GELU of a view is four times as slow on a CPU."""
    gate, value = both[:, rows].chunk(2, dim=-1)
    return gate.contiguous(), value


def _backward(
    slope: torch.Tensor, both: torch.Tensor, rows: slice, opened: torch.Tensor | None, into: torch.Tensor
) -> torch.Tensor:
    if runs_inductor():
        return _in_all_rows(_SLOPE(slope, both[:, rows])[0], both, rows)
    gate, value = _halves(both, rows)
    opened = F.gelu(gate) if opened is None else opened
    risen = slope * value
    of_gate, of_value = _only(into, rows).chunk(2, dim=-1)
    torch.mul(slope, opened, out=of_value)
    of_gate.copy_(torch.ops.aten.gelu_backward(risen, gate))
    return into


def _in_all_rows(slope: torch.Tensor, both: torch.Tensor, rows: slice) -> torch.Tensor:
    """The slope in both, given where it is not zero."""
    if slope.shape == both.shape:
        return slope
    out = torch.empty_like(both)
    _only(out, rows).copy_(slope)
    return out


def _only(out: torch.Tensor, rows: slice) -> torch.Tensor:
    """Those rows, to be filled; the others are made zero."""
    first, last, _ = rows.indices(out.shape[1])
    out[:, :first].zero_()
    out[:, last:].zero_()
    return out[:, rows]


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(both: torch.Tensor, rows: slice) -> torch.Tensor:
        return Gated.of(both, rows).result()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, slice], output: torch.Tensor) -> None:
        both, ctx.rows = inputs
        ctx.save_for_backward(both)
        ctx.save_for_forward(both)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        (both,) = ctx.saved_tensors
        rows = ctx.rows
        if torch.is_grad_enabled():
            (found,) = differentiable_vjp(lambda both: formulas.product(both[:, rows])[0], [both], [slope])
            return found, None
        return _backward(slope, both, rows, None, into=torch.empty_like(both)), None

    @staticmethod
    def jvp(ctx: Any, change: torch.Tensor, _: None) -> torch.Tensor:
        (both,) = ctx.saved_tensors
        out: torch.Tensor = _GatedChange.apply(both, change, ctx.rows)
        return out


class _GatedChange(torch.autograd.Function):
    """The change of the product for a change of gates and values."""

    @staticmethod
    def forward(both: torch.Tensor, change: torch.Tensor, rows: slice) -> torch.Tensor:
        return gated_change(both, change, rows)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, slice], output: torch.Tensor) -> None:
        both, change, ctx.rows = inputs
        ctx.save_for_backward(both, change)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        both, change = ctx.saved_tensors
        rows = ctx.rows
        if runs_inductor():
            of_both, of_change = _SLOPES_OF_CHANGE(slope, both[:, rows], change[:, rows])
            return _in_all_rows(of_both, both, rows), _in_all_rows(of_change, both, rows), None
        gate, value = _halves(both, rows)
        dgate, dvalue = change[:, rows].chunk(2, dim=-1)
        square = torch.square(gate)
        density = torch.exp(square * -0.5).mul_(1 / math.sqrt(2 * math.pi))
        bend = square.neg_().add_(2).mul_(density)
        level = torch.special.ndtr(gate)
        rise = torch.addcmul(level, gate, density)
        of_both, of_change = torch.empty_like(both), torch.empty_like(both)
        of_gate, of_value = _only(of_both, rows).chunk(2, dim=-1)
        of_dgate, of_dvalue = _only(of_change, rows).chunk(2, dim=-1)
        torch.mul(level.mul_(gate), slope, out=of_dvalue)
        risen = rise.mul_(slope)
        torch.mul(risen, dgate, out=of_value)
        torch.mul(risen, value, out=of_dgate)
        torch.mul(risen, dvalue, out=of_gate)
        of_gate.addcmul_(bend.mul_(slope).mul_(dgate), value)
        return of_both, of_change, None
