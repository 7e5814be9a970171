"""Depthwise 3×3 convolution of maps on a GPU, channels last, as one Triton kernel, with derivatives of every order.

PyTorch's own float32 depthwise convolutions are made for channels first: on channels-last maps they, and their gradient
in the weight above all, take several times as long as reading and writing the maps.

The convolution D(x, w) is bilinear, and so is its gradient in w, the sums S(g, x) over the pixels. Each one's
derivatives are the other's values: D in x is D(g, w with its taps reversed), D in w is S, and S is a D in either.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd import forward_ad

from refusion.ops.autodiff import in_forward_mode

# Fixed: trying others out would take its time in the middle of a CUDA graph's capture.
_PIXELS, _CHANNELS, _WARPS = 32, 64, 4
_SUMMED_PIXELS, _SUMMED_CHANNELS = 16, 32
_MOST_PARTIAL_SUMS = 256
# Pixels are counted in 32 bits; offsets of maps are not.
_MOST_PIXELS = 2**31 - 2**16


def serves(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Tells whether the kernel can convolve x (B, H, W, C) with the weight: float32 or bfloat16, both the same."""
    pixels = x.shape[:3].numel()
    return x.dtype == weight.dtype and x.dtype in (torch.float32, torch.bfloat16) and 0 < pixels < _MOST_PIXELS


def convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """3×3 convolution of each channel of (B, H, W, C) with its own weight, (C, 1, 3, 3), zeros around: (B, H, W, C).

    Sums in float32. Differentiable to every order, backward and in forward mode.
    """
    if _no_derivative(x, weight):
        return _launch(x, weight, None, reverse=False)[0]
    out: torch.Tensor = _Convolution.apply(x, weight, False)
    return out


def convolve_vjp(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, weight_needs_grad: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradients in x and, if needed, in weight, from that in `convolve(x, weight)`, in one pass over the maps.

    The sums over the pixels are the same each time: each program writes its own, which are then added in their order.
    """
    if _no_derivative(grad, x, weight):
        found = _launch(grad, weight, x if weight_needs_grad else None, reverse=True)
        return found[0], found[1] if weight_needs_grad else None
    grad_weight = _Sums.apply(grad, x) if weight_needs_grad else None
    return _Convolution.apply(grad, weight, True), grad_weight


def _no_derivative(*tensors: torch.Tensor) -> bool:
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return not recorded and not (
        in_forward_mode() and any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)
    )


class _Convolution(torch.autograd.Function):
    """D(x, weight), or D(x, weight with its taps reversed)."""

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, reverse: bool) -> torch.Tensor:
        return _launch(x, weight, None, reverse)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, bool], output: torch.Tensor) -> None:
        x, weight, ctx.reverse = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_needs_grad, weight_needs_grad, _ = ctx.needs_input_grad
        if not ctx.reverse and x_needs_grad and not torch.is_grad_enabled():
            return *convolve_vjp(grad, x, weight, weight_needs_grad), None
        grad_x = _Convolution.apply(grad, weight, not ctx.reverse) if x_needs_grad else None
        pair = (x, grad) if ctx.reverse else (grad, x)
        return grad_x, _Sums.apply(*pair) if weight_needs_grad else None, None

    @staticmethod
    def jvp(ctx: Any, dx: torch.Tensor, dweight: torch.Tensor, _: None) -> torch.Tensor:
        x, weight = ctx.saved_tensors
        tangents: list[torch.Tensor] = [
            _Convolution.apply(dx, weight, ctx.reverse),
            _Convolution.apply(x, dweight, ctx.reverse),
        ]
        return tangents[0] + tangents[1]


class _Sums(torch.autograd.Function):
    """S(grad, x): at each tap the sum of the gradient times the x under the tap, (C, 1, 3, 3)."""

    @staticmethod
    def forward(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return _launch(grad, None, x, reverse=True)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_sums: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        grad, x = ctx.saved_tensors
        grad_needs_grad, x_needs_grad = ctx.needs_input_grad
        return (
            _Convolution.apply(x, grad_sums, False) if grad_needs_grad else None,
            _Convolution.apply(grad, grad_sums, True) if x_needs_grad else None,
        )

    @staticmethod
    def jvp(ctx: Any, dgrad: torch.Tensor, dx: torch.Tensor) -> torch.Tensor:
        grad, x = ctx.saved_tensors
        tangents: list[torch.Tensor] = [_Sums.apply(dgrad, x), _Sums.apply(grad, dx)]
        return tangents[0] + tangents[1]


def _launch(
    source: torch.Tensor, weight: torch.Tensor | None, centre: torch.Tensor | None, reverse: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convolution of the source if there is a weight, and sums of it times the centre, if there is one.

    Args:
        source: (B, H, W, C), read at all taps.
        centre: (B, H, W, C), read at the pixel itself; the sums are then a gradient in the weight, (C, 1, 3, 3).
        reverse: whether the taps are reversed, in the weight and in the sums.
    """
    batch, height, width, channels = source.shape
    pixels = batch * height * width
    source = source.contiguous()
    # A pointer that is not followed has to be one of a tensor all the same.
    taps = source if weight is None else weight.contiguous()
    at_pixel = source if centre is None else centre.contiguous()
    out = source if weight is None else torch.empty_like(source)
    some_pixels, some_channels = (_PIXELS, _CHANNELS) if centre is None else (_SUMMED_PIXELS, _SUMMED_CHANNELS)
    blocks = triton.cdiv(pixels, some_pixels)
    steps = 1 if centre is None else max(triton.cdiv(blocks, _MOST_PARTIAL_SUMS), min(blocks, 4))
    programs = triton.cdiv(blocks, steps)
    sums = source.new_empty((programs if centre is not None else 0, channels * 9), dtype=torch.float32)
    # Launched on the current device, which need not be that of the maps.
    with torch.cuda.device_of(source):
        _kernel[programs, triton.cdiv(channels, some_channels)](
            *(source, taps, at_pixel, out, sums),
            *(pixels, height, width, channels),
            REVERSE=reverse,
            CONVOLVES=weight is not None,
            SUMS=centre is not None,
            PIXELS=some_pixels,
            CHANNELS=some_channels,
            STEPS=steps,
            num_warps=_WARPS,
        )
    total = sums if centre is None else sums.sum(dim=0).view(channels, 1, 3, 3).to(source.dtype)
    return out, total


@triton.jit
def _kernel(
    source: tl.tensor,
    weight: tl.tensor,
    centre: tl.tensor,
    out: tl.tensor,
    sums: tl.tensor,
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.tensor,
    REVERSE: tl.constexpr,
    CONVOLVES: tl.constexpr,
    SUMS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
) -> None:
    """Some channels of some blocks of pixels; sums go to this program's own row, (C, 9)."""
    program = tl.program_id(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    pixel = tl.arange(0, PIXELS)
    relative = pixel[:, None] * channels + channel[None, :]
    if SUMS:
        sum0 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum1 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum2 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum3 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum4 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum5 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum6 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum7 = tl.zeros((PIXELS, CHANNELS), tl.float32)
        sum8 = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for step in range(STEPS):
        first = (program * STEPS + step) * PIXELS
        place = first.to(tl.int64) * channels
        inside = (first + pixel) < pixels
        column = (first + pixel) % width
        row = ((first + pixel) // width) % height
        mask = inside[:, None] & is_channel[None, :]
        total = tl.zeros((PIXELS, CHANNELS), tl.float32)
        if SUMS:
            here = tl.load(centre + place + relative, mask=mask, other=0.0).to(tl.float32)
        for tap in tl.static_range(9):
            down = tap // 3 - 1
            right = tap % 3 - 1
            lies = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
            offset = (down * width + right) * channels
            there = tl.load(source + place + (relative + offset), mask=mask & lies[:, None], other=0.0).to(tl.float32)
            place_of_tap = 8 - tap if REVERSE else tap
            if CONVOLVES:
                factor = tl.load(weight + channel * 9 + place_of_tap, mask=is_channel, other=0.0).to(tl.float32)
                total += there * factor[None, :]
            if SUMS:
                product = here * there
                if tap == 0:
                    sum0 += product
                elif tap == 1:
                    sum1 += product
                elif tap == 2:
                    sum2 += product
                elif tap == 3:
                    sum3 += product
                elif tap == 4:
                    sum4 += product
                elif tap == 5:
                    sum5 += product
                elif tap == 6:
                    sum6 += product
                elif tap == 7:
                    sum7 += product
                else:
                    sum8 += product
        if CONVOLVES:
            tl.store(out + place + relative, total.to(out.dtype.element_ty), mask=mask)
    if SUMS:
        # Of the taps in their order; reversed ones end up at the other end.
        into = sums + (program.to(tl.int64) * channels + channel) * 9
        tl.store(into + (8 if REVERSE else 0), tl.sum(sum0, axis=0), mask=is_channel)
        tl.store(into + (7 if REVERSE else 1), tl.sum(sum1, axis=0), mask=is_channel)
        tl.store(into + (6 if REVERSE else 2), tl.sum(sum2, axis=0), mask=is_channel)
        tl.store(into + (5 if REVERSE else 3), tl.sum(sum3, axis=0), mask=is_channel)
        tl.store(into + 4, tl.sum(sum4, axis=0), mask=is_channel)
        tl.store(into + (3 if REVERSE else 5), tl.sum(sum5, axis=0), mask=is_channel)
        tl.store(into + (2 if REVERSE else 6), tl.sum(sum6, axis=0), mask=is_channel)
        tl.store(into + (1 if REVERSE else 7), tl.sum(sum7, axis=0), mask=is_channel)
        tl.store(into + (0 if REVERSE else 8), tl.sum(sum8, axis=0), mask=is_channel)
