"""Depthwise 3×3 convolution and the GEGLU behind it as one Triton kernel: value, backward pass and tangent.

The convolved maps, four times as wide as a network's, are never written: a backward pass convolves again, and reads no
more for it than it would read of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from refusion.ops.kernels import depthwise

_PIXELS, _CHANNELS, _WARPS = 32, 32, 4


def serves(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Tells whether the kernels run on x (B, H, W, 2N) and a weight (2N, 1, 3, 3): float32, both."""
    return x.dtype == torch.float32 and x.shape[3] % 2 == 0 and depthwise.serves(x, weight)


def value(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns gelu(gates) · values, (B, H, W, N), of the convolution of x (B, H, W, 2N): gates first, then values."""
    return _launch(x, weight, None, None, None)[0]


def vjp(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, weight_needs_grad: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Returns the gradients in x and, if needed, in the weight, from that in `value`, (B, H, W, N)."""
    grad_convolved = _launch(x, weight, grad, None, None)[1]
    return depthwise.convolve_vjp(grad_convolved, x, weight, weight_needs_grad)


def jvp(
    x: torch.Tensor, weight: torch.Tensor, dx: torch.Tensor, dweight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns `value` and its tangent for tangents of both; makes no graph."""
    return _launch(x, weight, None, dx, dweight)


def _launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    grad: torch.Tensor | None,
    dx: torch.Tensor | None,
    dweight: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Product and tangent (both unused without tangents), or, with a gradient, nothing and that in the convolution."""
    batch, height, width, channels = x.shape
    half = channels // 2
    x, weight = x.contiguous(), weight.contiguous()
    out = x.new_empty((batch, height, width, half)) if grad is None else x
    second = x
    if grad is not None:
        second = torch.empty_like(x)
    elif dx is not None:
        second = torch.empty_like(out)
    pixels = batch * height * width
    # A pointer that is not followed has to be one of a tensor all the same.
    given = [x if one is None else one.contiguous() for one in (grad, dx, dweight)]
    with torch.cuda.device_of(x):
        _kernel[triton.cdiv(pixels, _PIXELS), triton.cdiv(half, _CHANNELS)](
            *(x, weight, *given, out, second),
            *(pixels, height, width, half),
            BACKWARD=grad is not None,
            FORWARD=dx is not None,
            PIXELS=_PIXELS,
            CHANNELS=_CHANNELS,
            num_warps=_WARPS,
        )
    return out, second


@triton.jit
def _kernel(
    x: tl.tensor,
    weight: tl.tensor,
    grad: tl.tensor,
    dx: tl.tensor,
    dweight: tl.tensor,
    out: tl.tensor,
    second: tl.tensor,
    pixels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    half: tl.tensor,
    BACKWARD: tl.constexpr,
    FORWARD: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    first = tl.program_id(0) * PIXELS
    pixel = first + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < half
    column = pixel % width
    row = (pixel // width) % height
    mask = (pixel < pixels)[:, None] & is_channel[None, :]
    place = pixel.to(tl.int64)[:, None] * (2 * half) + channel[None, :]
    gate = tl.zeros((PIXELS, CHANNELS), tl.float32)
    values = tl.zeros((PIXELS, CHANNELS), tl.float32)
    if FORWARD:
        dgate = tl.zeros((PIXELS, CHANNELS), tl.float32)
        dvalues = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(9):
        down = tap // 3 - 1
        right = tap % 3 - 1
        lies = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
        there = place + (down * width + right) * (2 * half)
        inside = mask & lies[:, None]
        of_gate = tl.load(weight + channel * 9 + tap, mask=is_channel, other=0.0)
        of_value = tl.load(weight + (half + channel) * 9 + tap, mask=is_channel, other=0.0)
        from_gate = tl.load(x + there, mask=inside, other=0.0)
        from_value = tl.load(x + there + half, mask=inside, other=0.0)
        gate += from_gate * of_gate[None, :]
        values += from_value * of_value[None, :]
        if FORWARD:
            dof_gate = tl.load(dweight + channel * 9 + tap, mask=is_channel, other=0.0)
            dof_value = tl.load(dweight + (half + channel) * 9 + tap, mask=is_channel, other=0.0)
            dfrom_gate = tl.load(dx + there, mask=inside, other=0.0)
            dfrom_value = tl.load(dx + there + half, mask=inside, other=0.0)
            dgate += dfrom_gate * of_gate[None, :] + from_gate * dof_gate[None, :]
            dvalues += dfrom_value * of_value[None, :] + from_value * dof_value[None, :]
    distribution = 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
    gelu = gate * distribution
    narrow = pixel.to(tl.int64)[:, None] * half + channel[None, :]
    if BACKWARD or FORWARD:
        derivative = distribution + gate * tl.exp(gate * gate * -0.5) * 0.3989422804014327
    if BACKWARD:
        given = tl.load(grad + narrow, mask=mask, other=0.0)
        tl.store(second + place, given * values * derivative, mask=mask)
        tl.store(second + place + half, given * gelu, mask=mask)
    else:
        tl.store(out + narrow, gelu * values, mask=mask)
    if FORWARD:
        tl.store(second + narrow, dgate * values * derivative + gelu * dvalues, mask=mask)
