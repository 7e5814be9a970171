"""Separable convolutions as compiled code: the gated feed-forward network, and the maps q, k and v of attention.

Operation by operation these read and write maps of four times the width, which no cache holds. The code in `csrc/` goes
through the images row by row instead and holds a few rows of such maps at a time, in the value, in the jvp, and in the
vjp of both, which compute again what they need. It is built at its first use, for the processor that it runs on, and
serves float32 on CPUs; all else runs as without it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import runs_native
from refusion.ops.native.library import LANES, library, pointer, pointers, threads

_MOST_CHANNELS = 8 * LANES


class SeparableConv(NamedTuple):
    """A pointwise, then a depthwise convolution of x, with a LayerNorm before them if there is one.

    With ``projection`` it is x + projection · (gelu(gate) · value), gate and value being the halves of that.

    Attributes:
        x: (B, H, W, C), channels last.
        weight, bias: (C), of the norm.
        pointwise: (M, C, 1, 1).
        depthwise: (M, 1, 3, 3).
        projection: (C, M/2, 1, 1).
    """

    x: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    pointwise: torch.Tensor
    depthwise: torch.Tensor
    projection: torch.Tensor | None

    @staticmethod
    def gated(inputs: Sequence[torch.Tensor]) -> SeparableConv:
        """Takes x, weight and bias if there is a norm, pointwise, depthwise, projection."""
        x, *norm, pointwise, depthwise, projection = inputs
        weight, bias = norm or (None, None)
        return SeparableConv(x, weight, bias, pointwise, depthwise, projection)

    @staticmethod
    def plain(inputs: Sequence[torch.Tensor]) -> SeparableConv:
        """Takes x, weight and bias if there is a norm, pointwise, depthwise."""
        x, *norm, pointwise, depthwise = inputs
        weight, bias = norm or (None, None)
        return SeparableConv(x, weight, bias, pointwise, depthwise, None)

    @property
    def given(self) -> list[torch.Tensor]:
        """Inputs without those that are None."""
        return [tensor for tensor in self if tensor is not None]

    def is_served(self) -> bool:
        """Tells whether the compiled code runs on these inputs."""
        x, wide = self.x, self.pointwise.shape[0]
        widths = [x.shape[3], wide, *([] if self.projection is None else [wide // 2])]
        return (
            all(width % LANES == 0 for width in widths)
            and x.shape[3] <= _MOST_CHANNELS
            and x.numel() > 0
            and all(runs_native(tensor) for tensor in self.given)
        )

    def value(self) -> torch.Tensor:
        """Result, (B, H, W, C) with a projection, else (B, H, W, M)."""
        held, out = self._contiguous(), self._empty()
        library().separable_conv(self._sizes(), held._pointers(), pointer(out), threads())
        return out

    def jvp(self, tangent: SeparableConv) -> tuple[torch.Tensor, torch.Tensor]:
        """Result, and its tangent for tangents of the inputs."""
        held, directions, out, out_tangent = self._contiguous(), tangent._contiguous(), self._empty(), self._empty()
        library().separable_conv_jvp(
            self._sizes(), held._pointers(), directions._pointers(), pointer(out), pointer(out_tangent), threads()
        )
        return out, out_tangent

    def vjp(self, grad: torch.Tensor, parameters_need_grad: bool) -> list[torch.Tensor | None]:
        """Gradients in `given`, from that in the result; None for parameters unless they need them."""
        held, grad = self._contiguous(), grad.contiguous()
        found = held._empty_grads(parameters_need_grad)
        library().separable_conv_vjp(self._sizes(), held._pointers(), pointer(grad), pointers(found), threads())
        return held._of_given(found)

    def vjp_of_jvp(
        self, tangent: SeparableConv, grad: torch.Tensor, grad_of_tangent: torch.Tensor, parameters_need_grad: bool
    ) -> tuple[list[torch.Tensor | None], torch.Tensor]:
        """Gradients in `given`, and in the tangent of x, from those in the result and in its tangent."""
        held, directions = self._contiguous(), tangent._contiguous()
        grad, grad_of_tangent = grad.contiguous(), grad_of_tangent.contiguous()
        found, grad_dx = held._empty_grads(parameters_need_grad), torch.empty_like(held.x)
        library().separable_conv_vjp_of_jvp(
            self._sizes(),
            held._pointers(),
            directions._pointers(),
            pointer(grad),
            pointer(grad_of_tangent),
            pointers(found),
            pointer(grad_dx),
            threads(),
        )
        return held._of_given(found), grad_dx

    def _contiguous(self) -> SeparableConv:
        return SeparableConv._make(None if tensor is None else tensor.detach().contiguous() for tensor in self)

    def _empty(self) -> torch.Tensor:
        channels = self.pointwise.shape[0] if self.projection is None else self.x.shape[3]
        return self.x.new_empty((*self.x.shape[:3], channels))

    def _empty_grads(self, parameters_need_grad: bool) -> list[torch.Tensor | None]:
        needs_grad = [True, *[parameters_need_grad] * (len(self) - 1)]
        return [
            torch.empty_like(tensor) if needs and tensor is not None else None
            for tensor, needs in zip(self, needs_grad, strict=True)
        ]

    def _of_given(self, found: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
        return [grad for grad, tensor in zip(found, self, strict=True) if tensor is not None]

    def _pointers(self) -> ctypes.Array[ctypes.c_void_p]:
        return pointers(list(self))

    def _sizes(self) -> ctypes.Array[ctypes.c_int64]:
        wide = self.pointwise.shape[0]
        return (ctypes.c_int64 * 6)(*self.x.shape, wide, 0 if self.projection is None else wide // 2)
