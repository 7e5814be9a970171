"""LayerNorm over the few channels of each pixel on a GPU, as Triton kernels: many pixels in a program.

PyTorch's kernels give each row a block of threads of its own, which for rows of 16 or 32 channels leaves most threads
idle, and their gradient in weight and bias reads the maps once more.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# Fixed: trying others out would take its time in the middle of a CUDA graph's capture.
_ROWS, _WARPS = 64, 4
_MOST_CHANNELS = 256
_MOST_PARTIAL_SUMS = 512


def serves(x: torch.Tensor) -> bool:
    """Tells whether the kernels can normalise x (..., C)."""
    return x.dtype == torch.float32 and 0 < x.shape[-1] <= _MOST_CHANNELS and 0 < x.numel() < 2**31


def value(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the result, and mean and reciprocal deviation of each row, (..., 1)."""
    x = x.contiguous()
    channels = x.shape[-1]
    rows = x.numel() // channels
    out = torch.empty_like(x)
    mean, rstd = (x.new_empty((*x.shape[:-1], 1)) for _ in range(2))
    with torch.cuda.device_of(x):
        _value[(triton.cdiv(rows, _ROWS),)](
            *(x, weight.contiguous(), bias.contiguous(), out, mean, rstd, rows, channels, eps),
            ROWS=_ROWS,
            CHANNELS=triton.next_power_of_2(channels),
            num_warps=_WARPS,
        )
    return out, mean, rstd


def vjp(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor | None,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    parameters_need_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Returns the gradients in x and, if needed, in weight and bias, from that in the result; weight None is all ones.

    The sums over the pixels are the same each time: each program writes its own, which are then added in their order.
    """
    grad, x = grad.contiguous(), x.contiguous()
    channels = x.shape[-1]
    rows = x.numel() // channels
    blocks = triton.cdiv(rows, _ROWS)
    steps = triton.cdiv(blocks, _MOST_PARTIAL_SUMS) if parameters_need_grad else 1
    programs = triton.cdiv(blocks, steps)
    grad_x = torch.empty_like(x)
    sums = x.new_empty((2, programs if parameters_need_grad else 0, channels))
    with torch.cuda.device_of(x):
        _vjp[(programs,)](
            *(grad, x, x if weight is None else weight.contiguous(), mean, rstd, grad_x, sums[0], sums[1]),
            *(rows, channels),
            WEIGHTED=weight is not None,
            SUMS=parameters_need_grad,
            STEPS=steps,
            ROWS=_ROWS,
            CHANNELS=triton.next_power_of_2(channels),
            num_warps=_WARPS,
        )
    if not parameters_need_grad:
        return grad_x, None, None
    grad_weight, grad_bias = sums.sum(dim=1).unbind()
    return grad_x, grad_weight, grad_bias


@triton.jit
def statistics(
    values: tl.tensor, is_channel: tl.tensor, channels: tl.tensor, eps: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Returns mean, reciprocal deviation (rows), and the normalised values (rows, channels)."""
    average = tl.sum(values, axis=1) / channels
    centred = tl.where(is_channel[None, :], values - average[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / channels + eps)
    return average, scale, centred * scale[:, None]


@triton.jit
def normalised_again(
    x: tl.tensor,
    mean: tl.tensor,
    rstd: tl.tensor,
    row: tl.tensor,
    rows: tl.tensor,
    channel: tl.tensor,
    channels: tl.tensor,
) -> tuple[tl.tensor, tl.tensor]:
    """Returns normalised values (rows, channels) and reciprocal deviations (rows) by the kept mean and deviation."""
    mask = (row < rows)[:, None] & (channel < channels)[None, :]
    average = tl.load(mean + row, mask=row < rows, other=0.0)
    scale = tl.load(rstd + row, mask=row < rows, other=0.0)
    values = tl.load(x + row[:, None] * channels + channel[None, :], mask=mask, other=0.0)
    return tl.where(mask, (values - average[:, None]) * scale[:, None], 0.0), scale


@triton.jit
def jacobian(z: tl.tensor, scaled: tl.tensor, scale: tl.tensor, channels: tl.tensor) -> tl.tensor:
    """J applied to a gradient in the normalised values or a tangent of x, z, which is zero beyond the channels."""
    along = tl.sum(z * scaled, axis=1) / channels
    level = tl.sum(z, axis=1) / channels
    return scale[:, None] * (z - level[:, None] - scaled * along[:, None])


@triton.jit
def _value(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    mean: tl.tensor,
    rstd: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    eps: tl.tensor,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < channels
    mask = (row < rows)[:, None] & is_channel[None, :]
    place = row[:, None] * channels + channel[None, :]
    values = tl.load(x + place, mask=mask, other=0.0)
    average, scale, scaled = statistics(values, is_channel, channels, eps)
    factor = tl.load(weight + channel, mask=is_channel, other=0.0)
    offset = tl.load(bias + channel, mask=is_channel, other=0.0)
    tl.store(out + place, scaled * factor[None, :] + offset[None, :], mask=mask)
    tl.store(mean + row, average, mask=row < rows)
    tl.store(rstd + row, scale, mask=row < rows)


@triton.jit
def _vjp(
    grad: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    mean: tl.tensor,
    rstd: tl.tensor,
    grad_x: tl.tensor,
    weight_sums: tl.tensor,
    bias_sums: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    WEIGHTED: tl.constexpr,
    SUMS: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    program = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < channels
    if WEIGHTED:
        factor = tl.load(weight + channel, mask=is_channel, other=0.0)
    if SUMS:
        of_weight = tl.zeros((ROWS, CHANNELS), tl.float32)
        of_bias = tl.zeros((ROWS, CHANNELS), tl.float32)
    for step in range(STEPS):
        row = (program * STEPS + step) * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & is_channel[None, :]
        place = row[:, None] * channels + channel[None, :]
        scaled, scale = normalised_again(x, mean, rstd, row, rows, channel, channels)
        given = tl.load(grad + place, mask=mask, other=0.0)
        weighted = given
        if WEIGHTED:
            weighted = given * factor[None, :]
        tl.store(grad_x + place, jacobian(weighted, scaled, scale, channels), mask=mask)
        if SUMS:
            of_weight += given * scaled
            of_bias += given
    if SUMS:
        into = program * channels + channel
        tl.store(weight_sums + into, tl.sum(of_weight, axis=0), mask=is_channel)
        tl.store(bias_sums + into, tl.sum(of_bias, axis=0), mask=is_channel)
