"""Pointwise and depthwise convolutions of channels-last maps (B, H, W, C), with their derivatives.

Tensors between layers are channels last: there a 1×1 convolution is one matrix product, a LayerNorm over channels
needs no copy, and a depthwise convolution is several times faster on a CPU than on (B, C, H, W).
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F

from refusion.ops.backend import runs_on_gpu, runs_triton


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """View of (B, C, H, W) as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(x: torch.Tensor) -> torch.Tensor:
    """View of (B, H, W, C) as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def conv3x3(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolution of (B, H, W, inputs) with weight (outputs, inputs, 3, 3), zeros around: (B, H, W, outputs).

    Example:
        >>> conv3x3(torch.rand(2, 5, 4, 8), torch.rand(6, 8, 3, 3)).shape
        torch.Size([2, 5, 4, 6])
    """
    return to_channels_last(F.conv2d(to_channels_first(x), weight, padding=1))


def pointwise_conv(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """1×1 convolution of (B, H, W, inputs) with weight (outputs, inputs, 1, 1): (B, H, W, outputs).

    Example:
        >>> pointwise_conv(torch.rand(2, 5, 4, 8), torch.rand(6, 8, 1, 1)).shape
        torch.Size([2, 5, 4, 6])
    """
    if runs_on_gpu(x):
        return F.linear(x, weight.flatten(1))
    return to_channels_last(F.conv2d(_rows(x), weight)).reshape(*x.shape[:3], -1)


def pointwise_conv_vjp(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, weight_needs_grad: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradients in x and, if needed, in weight, from that in `pointwise_conv(x, weight)`."""
    if runs_on_gpu(x):
        flat, pixels = weight.flatten(1), grad.reshape(-1, weight.shape[0])
        of_weight = pixels.T @ x.reshape(-1, weight.shape[1]) if weight_needs_grad else None
        return (pixels @ flat).view(x.shape), None if of_weight is None else of_weight.view(weight.shape)
    grad_x, grad_weight = _vjp(_rows(grad), _rows(x), weight, 0, 1, weight_needs_grad)
    return to_channels_last(grad_x).reshape(x.shape), grad_weight


def pointwise_conv_jvp(x: torch.Tensor, weight: torch.Tensor, dx: torch.Tensor, dweight: torch.Tensor) -> torch.Tensor:
    """Tangent of `pointwise_conv(x, weight)` for tangents of both: its two terms in one product."""
    if runs_on_gpu(x):
        first, second = (one.reshape(-1, weight.shape[1]) for one in (dx, x))
        tangent = torch.addmm(first @ weight.flatten(1).T, second, dweight.flatten(1).T)
        return tangent.view(*x.shape[:3], -1)
    return pointwise_conv(torch.cat((dx, x), dim=3), torch.cat((weight, dweight), dim=1))


def depthwise_conv(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """3×3 convolution of each channel of (B, H, W, C) with its own weight, (C, 1, 3, 3), zeros around: (B, H, W, C).

    Example:
        >>> depthwise_conv(torch.ones(1, 3, 3, 2), torch.ones(2, 1, 3, 3))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    kernel = _kernel(x, weight)
    if kernel is not None:
        out: torch.Tensor = kernel.convolve(x, weight)
        return out
    return to_channels_last(F.conv2d(to_channels_first(x), weight, padding=1, groups=weight.shape[0]))


def depthwise_conv_vjp(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, weight_needs_grad: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradients in x and, if needed, in weight, from that in `depthwise_conv(x, weight)`."""
    kernel = _kernel(x, weight)
    if kernel is not None and grad.dtype == x.dtype:
        grads: tuple[torch.Tensor, torch.Tensor | None] = kernel.convolve_vjp(grad, x, weight, weight_needs_grad)
        return grads
    grad_x, grad_weight = _vjp(
        to_channels_first(grad), to_channels_first(x), weight, 1, weight.shape[0], weight_needs_grad
    )
    return to_channels_last(grad_x), grad_weight


def _kernel(x: torch.Tensor, weight: torch.Tensor) -> ModuleType | None:
    """The Triton kernels, where they run and serve these tensors."""
    if not runs_triton(x):
        return None
    # Only here is it known that there is Triton.
    import refusion.ops.kernels.depthwise as kernel

    return kernel if kernel.serves(x, weight) else None


def _rows(x: torch.Tensor) -> torch.Tensor:
    # As B·H images of one row: PyTorch leaves 1×1 convolutions of few images to a kernel that is half as fast.
    batch, height, width, channels = x.shape
    return to_channels_first(x.reshape(batch * height, 1, width, channels))


def _vjp(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, padding: int, groups: int, weight_needs_grad: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    pad = [padding, padding]
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], pad, [1, 1], False, [0, 0], groups, [True, weight_needs_grad, False]
    )
    return grad_x, grad_weight
