"""The two convolutions that the networks are made of, on channels-last maps (B, H, W, C), and their derivatives.

Tensors between layers are channels last: there a 1×1 convolution is one matrix product, a LayerNorm over channels
needs no copy, and a depth-wise convolution is several times faster on a CPU than on (B, C, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) seen as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(x: torch.Tensor) -> torch.Tensor:
    """(B, H, W, C) seen as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def mix(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A 1×1 convolution with weight (outputs, inputs, 1, 1): (B, H, W, inputs) to (B, H, W, outputs)."""
    return to_channels_last(F.conv2d(_rows(x), weight)).reshape(*x.shape[:3], -1)


def mix_backward(
    slope: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, of_weight_too: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Slopes in x and, if wanted, in weight, from the slope in `mix(x, weight)`."""
    of_x, of_weight = _backward(_rows(slope), _rows(x), weight, 0, 1, of_weight_too)
    return to_channels_last(of_x).reshape(x.shape), of_weight


def mix_change(x: torch.Tensor, weight: torch.Tensor, dx: torch.Tensor, dweight: torch.Tensor) -> torch.Tensor:
    """The change of `mix(x, weight)`: both of its terms in one product."""
    return mix(torch.cat((dx, x), dim=3), torch.cat((weight, dweight), dim=1))


def filter_maps(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """A depth-wise convolution: each of the maps (B, H, W, C) with a 3×3 kernel of its own, (C, 1, 3, 3)."""
    return to_channels_last(F.conv2d(to_channels_first(x), kernels, padding=1, groups=kernels.shape[0]))


def filter_maps_backward(
    slope: torch.Tensor, x: torch.Tensor, kernels: torch.Tensor, of_kernels_too: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Slopes in x and, if wanted, in the kernels, from the slope in `filter_maps(x, kernels)`."""
    of_x, of_kernels = _backward(
        to_channels_first(slope), to_channels_first(x), kernels, 1, kernels.shape[0], of_kernels_too
    )
    return to_channels_last(of_x), of_kernels


def _rows(x: torch.Tensor) -> torch.Tensor:
    # As B·H images of one row: PyTorch leaves 1×1 convolutions of few images to a kernel that is half as fast.
    batch, height, width, channels = x.shape
    return to_channels_first(x.reshape(batch * height, 1, width, channels))


def _backward(
    slope: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, padding: int, groups: int, of_weight_too: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    pad = [padding, padding]
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        slope, x, weight, None, [1, 1], pad, [1, 1], False, [0, 0], groups, [True, of_weight_too, False]
    )
    return of_x, of_weight
