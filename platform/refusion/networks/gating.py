"""gelu(gate) · value, the two being halves of one tensor: without a copy of either, in both directions."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from refusion.networks.twice import differentiable_backward


def gated(both: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """(B, H, W, 2C), gates first, then values, to (B, H', W, C): the exact GELU of the gates times the values.

    Differentiable twice: backward and backward, or forward and backward.

    Args:
        rows: which of the rows are wanted.
    """
    out: torch.Tensor = _Gated.apply(both, rows)
    return out


def gated_backward(
    slope: torch.Tensor, both: torch.Tensor, rows: slice, gate: torch.Tensor, opened: torch.Tensor
) -> torch.Tensor:
    """The slope in `both` from that in `gated(both, rows)`.

    Args:
        gate: as `halves` gives it.
        opened: its GELU, which is overwritten.
    """
    out = _room(both, rows)
    of_gate, of_value = out[:, rows].chunk(2, dim=-1)
    torch.mul(slope, opened, out=of_value)
    torch.mul(slope, both[:, rows].chunk(2, dim=-1)[1], out=opened)
    of_gate.copy_(torch.ops.aten.gelu_backward(opened, gate))
    return out


def halves(both: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Gate and value in some rows. The gate is a copy: PyTorch's GELU of a view is four times as slow on a CPU."""
    gate, value = both[:, rows].chunk(2, dim=-1)
    return gate.contiguous(), value


def _room(both: torch.Tensor, rows: slice) -> torch.Tensor:
    """Room for slopes in both, zero where no row is wanted."""
    out = torch.empty_like(both)
    first, last, _ = rows.indices(both.shape[1])
    out[:, :first].zero_()
    out[:, last:].zero_()
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(both: torch.Tensor, rows: slice) -> torch.Tensor:
        gate, value = halves(both, rows)
        return F.gelu(gate).mul_(value)

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

            def plainly(both: torch.Tensor) -> torch.Tensor:
                gate, value = halves(both, rows)
                return F.gelu(gate) * value

            return differentiable_backward(plainly, [both], [slope])[0], None
        gate, _ = halves(both, rows)
        return gated_backward(slope, both, rows, gate, F.gelu(gate)), None

    @staticmethod
    def jvp(ctx: Any, change: torch.Tensor, _: None) -> torch.Tensor:
        (both,) = ctx.saved_tensors
        out: torch.Tensor = _GatedChange.apply(both, change, ctx.rows)
        return out


class _GatedChange(torch.autograd.Function):
    """The change of the product for a change of gates and values."""

    @staticmethod
    def forward(both: torch.Tensor, change: torch.Tensor, rows: slice) -> torch.Tensor:
        gate, value = halves(both, rows)
        of_gate, of_value = change[:, rows].chunk(2, dim=-1)
        out: torch.Tensor = torch.ops.aten.gelu_backward(of_gate * value, gate)
        return out.addcmul_(F.gelu(gate), of_value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, slice], output: torch.Tensor) -> None:
        both, change, ctx.rows = inputs
        ctx.save_for_backward(both, change)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        both, change = ctx.saved_tensors
        rows = ctx.rows
        gate, value = halves(both, rows)
        dgate, dvalue = change[:, rows].chunk(2, dim=-1)
        # gelu = g·Φ(g), gelu' = Φ + g·φ, gelu'' = φ·(2 − g²), with the normal distribution Φ and its density φ.
        square = torch.square(gate)
        density = torch.exp(square * -0.5).mul_(1 / math.sqrt(2 * math.pi))
        bend = square.neg_().add_(2).mul_(density)
        level = torch.special.ndtr(gate)
        rise = torch.addcmul(level, gate, density)
        of_both, of_change = _room(both, rows), _room(both, rows)
        of_gate, of_value = of_both[:, rows].chunk(2, dim=-1)
        of_dgate, of_dvalue = of_change[:, rows].chunk(2, dim=-1)
        torch.mul(level.mul_(gate), slope, out=of_dvalue)
        risen = rise.mul_(slope)
        torch.mul(risen, dgate, out=of_value)
        torch.mul(risen, value, out=of_dgate)
        torch.mul(risen, dvalue, out=of_gate)
        of_gate.addcmul_(bend.mul_(slope).mul_(dgate), value)
        return of_both, of_change, None
