"""Compiled code for what the networks spend their time on: a gated feed-forward network, and the maps for attention.

Operation by operation these read and write maps of four times the width, which no cache holds. The code in `native/`
goes through the images row by row instead and keeps a few rows of such maps at a time, in the forward pass, in forward
mode, and in the backward passes of both, which make again what they need. It is compiled at its first use, for the
processor that it runs on, and serves float32 on CPUs; all else runs as without it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import runs_native
from refusion.ops.native.library import LANES, library, pointer, pointers, threads

_MOST_CHANNELS = 8 * LANES


class Filtered(NamedTuple):
    """Channels (normalised, if there is a norm) mixed, then filtered; if gated, mixed again and added to x.

    With ``project``: x + project · (gelu(gate) · value), gate and value being the halves of what is filtered.

    Attributes:
        x: (B, H, W, C), channels last.
        weight, bias: (C), of the norm.
        widen: (M, C, 1, 1).
        kernels: (M, 1, 3, 3).
        project: (C, M/2, 1, 1).
    """

    x: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    widen: torch.Tensor
    kernels: torch.Tensor
    project: torch.Tensor | None

    @staticmethod
    def gated(inputs: Sequence[torch.Tensor]) -> Filtered:
        """From x, weight and bias if there is a norm, widen, kernels, project."""
        x, *norm, widen, kernels, project = inputs
        weight, bias = norm or (None, None)
        return Filtered(x, weight, bias, widen, kernels, project)

    @staticmethod
    def plain(inputs: Sequence[torch.Tensor]) -> Filtered:
        """From x, weight and bias if there is a norm, widen, kernels."""
        x, *norm, widen, kernels = inputs
        weight, bias = norm or (None, None)
        return Filtered(x, weight, bias, widen, kernels, None)

    @property
    def given(self) -> list[torch.Tensor]:
        """Those that there are."""
        return [tensor for tensor in self if tensor is not None]

    def is_compiled(self) -> bool:
        """Whether the compiled code serves these inputs."""
        x, mixed = self.x, self.widen.shape[0]
        widths = [x.shape[3], mixed, *([] if self.project is None else [mixed // 2])]
        return (
            all(width % LANES == 0 for width in widths)
            and x.shape[3] <= _MOST_CHANNELS
            and x.numel() > 0
            and all(runs_native(tensor) for tensor in self.given)
        )

    def result(self) -> torch.Tensor:
        """(B, H, W, C) if gated, else (B, H, W, M)."""
        held, out = self._contiguous(), self._empty()
        library().part_forward(self._sizes(), held._pointers(), pointer(out), threads())
        return out

    def change(self, change: Filtered) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and its change for a change of the inputs."""
        held, moving, out, moved = self._contiguous(), change._contiguous(), self._empty(), self._empty()
        library().part_change(
            self._sizes(), held._pointers(), moving._pointers(), pointer(out), pointer(moved), threads()
        )
        return out, moved

    def slopes(self, slope: torch.Tensor, parameters_too: bool) -> list[torch.Tensor | None]:
        """In the inputs that there are, from that in the result; None for parameters unless they are wanted."""
        held, slope = self._contiguous(), slope.contiguous()
        found = held._places(parameters_too)
        library().part_backward(self._sizes(), held._pointers(), pointer(slope), pointers(found), threads())
        return held._of_given(found)

    def slopes_through_change(
        self, change: Filtered, slope: torch.Tensor, slope_of_change: torch.Tensor, parameters_too: bool
    ) -> tuple[list[torch.Tensor | None], torch.Tensor]:
        """In the inputs that there are, and in the change of x, from those in the result and in its change."""
        held, moving = self._contiguous(), change._contiguous()
        slope, slope_of_change = slope.contiguous(), slope_of_change.contiguous()
        found, of_change = held._places(parameters_too), torch.empty_like(held.x)
        library().part_change_backward(
            self._sizes(),
            held._pointers(),
            moving._pointers(),
            pointer(slope),
            pointer(slope_of_change),
            pointers(found),
            pointer(of_change),
            threads(),
        )
        return held._of_given(found), of_change

    def _contiguous(self) -> Filtered:
        return Filtered._make(None if tensor is None else tensor.detach().contiguous() for tensor in self)

    def _empty(self) -> torch.Tensor:
        channels = self.widen.shape[0] if self.project is None else self.x.shape[3]
        return self.x.new_empty((*self.x.shape[:3], channels))

    def _places(self, parameters_too: bool) -> list[torch.Tensor | None]:
        wanted = [True, *[parameters_too] * (len(self) - 1)]
        return [
            torch.empty_like(tensor) if want and tensor is not None else None
            for tensor, want in zip(self, wanted, strict=True)
        ]

    def _of_given(self, found: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
        return [slope for slope, tensor in zip(found, self, strict=True) if tensor is not None]

    def _pointers(self) -> ctypes.Array[ctypes.c_void_p]:
        return pointers(list(self))

    def _sizes(self) -> ctypes.Array[ctypes.c_int64]:
        mixed = self.widen.shape[0]
        return (ctypes.c_int64 * 6)(*self.x.shape, mixed, 0 if self.project is None else mixed // 2)
