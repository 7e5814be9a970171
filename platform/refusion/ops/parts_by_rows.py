"""Parts whose value and derivatives are compiled code, as functions that autograd and forward mode take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.autograd.function import once_differentiable

from refusion.ops.autodiff import differentiable_vjp

Made = TypeVar("Made")
Tensors = Sequence[torch.Tensor]
Slopes = Sequence[torch.Tensor | None]
Plain = Callable[[Tensors], torch.Tensor]


class PartByRows(ABC, Generic[Made]):
    """A function of maps, channels last, and of parameters, as `pieces.Part` is, that works on whole images.

    Attributes:
        maps: how many of the inputs are maps, (B, H, W, ·); what follows are parameters.
    """

    maps: int = 1

    @abstractmethod
    def serves(self, inputs: Tensors) -> bool:
        """Whether the compiled code is there, and takes these inputs."""

    @abstractmethod
    def make(self, inputs: Tensors) -> Made:
        """What both the result and its slopes are made from and is kept between them."""

    @abstractmethod
    def finish(self, inputs: Tensors, made: Made) -> torch.Tensor:
        """The result from it, (B, H, W, C)."""

    @abstractmethod
    def backward(self, inputs: Tensors, made: Made, slope: torch.Tensor, wanted: Sequence[bool]) -> Slopes:
        """The slopes in the inputs, from that in the result; some that are not wanted may be among them."""

    @abstractmethod
    def change(self, inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and its change for a change of the inputs."""

    @abstractmethod
    def vjp_of_jvp(
        self, inputs: Tensors, changes: Tensors, slopes: Tensors, wanted: Sequence[bool]
    ) -> tuple[Slopes, Slopes]:
        """The slopes in the inputs and in the changes of the maps, from those in the result and in its change."""


def run_by_rows(part: PartByRows[Any], plain: Plain, inputs: Tensors, keep: bool) -> torch.Tensor:
    """The part's result. Differentiable twice: backward and backward (by `plain`, the same function of PyTorch's).

    Args:
        keep: what was made until the backward pass, which otherwise makes it again.
    """
    out: torch.Tensor = _ByRows.apply(part, plain, [] if keep else None, *inputs)
    return out


def move_by_rows(part: PartByRows[Any], inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """The part's result and its change. Backward, both have slopes in the inputs and in the changes of the maps."""
    value, change = _MovingByRows.apply(part, *inputs, *changes)
    return value, change


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(part: PartByRows[Any], _: Plain, kept: list[Any] | None, *inputs: torch.Tensor) -> torch.Tensor:
        made = part.make(inputs)
        if kept is not None:
            kept.append(made)
        return part.finish(inputs, made)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.part, ctx.plain, ctx.kept, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, part = ctx.saved_tensors, ctx.part
        if torch.is_grad_enabled():
            found: Slopes = differentiable_vjp(lambda *given: ctx.plain(given), inputs, [slope])
        else:
            made = ctx.kept.pop() if ctx.kept else part.make(inputs)
            found = part.backward(inputs, made, slope.contiguous(), ctx.needs_input_grad[3:])
        return None, None, None, *found


class _MovingByRows(torch.autograd.Function):
    @staticmethod
    def forward(part: PartByRows[Any], *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = len(inputs) // 2
        return part.change(inputs[:half], inputs[half:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ctx.part, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, part = ctx.saved_tensors, ctx.part
        half = len(inputs) // 2
        found, of_changes = part.vjp_of_jvp(
            inputs[:half], inputs[half:], [slope.contiguous() for slope in slopes], ctx.needs_input_grad[1 : 1 + half]
        )
        return None, *found, *of_changes, *[None] * (half - len(of_changes))
