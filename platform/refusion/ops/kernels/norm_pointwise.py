"""LayerNorm over the channels of each pixel and the pointwise convolution behind it as one Triton kernel each way.

The normalised maps are never written: what a backward pass needs of them it computes from x, mean and reciprocal
deviation again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from refusion.ops.kernels.layer_norm import jacobian, normalised_again, statistics

# Fixed: trying others out would take its time in the middle of a CUDA graph's capture.
_ROWS, _OUTPUTS, _WARPS = 64, 64, 4
_MOST_CHANNELS = 128
_MOST_PARTIAL_SUMS = 128


def serves(x: torch.Tensor, pointwise: torch.Tensor) -> bool:
    """Tells whether the kernels run on x (..., C) and a weight (outputs, C, 1, 1): float32, both."""
    same = x.dtype == pointwise.dtype == torch.float32
    return same and 16 <= x.shape[-1] <= _MOST_CHANNELS and 0 < x.numel() < 2**31


def value(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pointwise: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the convolved maps (..., outputs), and mean and reciprocal deviation of each row, (..., 1).

    Args:
        x: (..., C).
        weight, bias: of the norm, (C).
        pointwise: (outputs, C, 1, 1).
        eps: of the norm.
    """
    mean, rstd = (x.new_empty((*x.shape[:-1], 1)) for _ in range(2))
    return _launch([x, weight, bias, pointwise], None, (mean, rstd), eps)[0], mean, rstd


def jvp(
    inputs: Sequence[torch.Tensor], tangents: Sequence[torch.Tensor], eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the convolved maps and their tangent, (..., outputs) each; makes no graph.

    Args:
        inputs: x, weight, bias and pointwise, as `value` takes them.
        tangents: of each of them.
        eps: of the norm.
    """
    return _launch(inputs, tangents, None, eps)


def vjp(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    pointwise: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the gradients in x, weight, bias and pointwise from that in the convolved maps (..., outputs).

    Sums over the pixels are the same each time: each program writes its own, which are then added in their order.
    """
    x, grad, flat = x.contiguous(), grad.contiguous(), pointwise.flatten(1).contiguous()
    outputs, channels = flat.shape
    rows = x.numel() // channels
    blocks = triton.cdiv(rows, _ROWS)
    steps = triton.cdiv(blocks, _MOST_PARTIAL_SUMS)
    programs = triton.cdiv(blocks, steps)
    padded = triton.next_power_of_2(channels)
    grad_x = torch.empty_like(x)
    sums = x.new_empty((2, programs, channels))
    partial_sums = x.new_empty((programs, outputs, channels))
    sizes = {"ROWS": _ROWS, "CHANNELS": padded, "OUTPUTS": _OUTPUTS, "STEPS": steps, "num_warps": _WARPS}
    with torch.cuda.device_of(x):
        _vjp[(programs,)](
            *(grad, x, weight.contiguous(), flat, mean, rstd, grad_x, sums[0], sums[1], rows, channels, outputs),
            PARTS=triton.cdiv(outputs, _OUTPUTS),
            **sizes,
        )
        _pointwise_sums[programs, triton.cdiv(outputs, _OUTPUTS)](
            *(grad, x, weight.contiguous(), bias.contiguous(), mean, rstd, partial_sums, rows, channels, outputs),
            **sizes,
        )
    grad_weight, grad_bias = sums.sum(dim=1).unbind()
    return grad_x, grad_weight, grad_bias, partial_sums.sum(dim=0).view(pointwise.shape)


def _launch(
    inputs: Sequence[torch.Tensor],
    tangents: Sequence[torch.Tensor] | None,
    rows_of: tuple[torch.Tensor, torch.Tensor] | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The convolved maps and, with tangents, that of them; without, mean and deviation go where they are to."""
    x, *rest = (one.contiguous() for one in inputs)
    outputs, channels = rest[-1].shape[:2]
    rows = x.numel() // channels
    out = x.new_empty((*x.shape[:-1], outputs))
    tangent = out if tangents is None else torch.empty_like(out)
    # A pointer that is not followed has to be one of a tensor all the same.
    along = [x] * len(inputs) if tangents is None else [one.contiguous() for one in tangents]
    mean, rstd = (x, x) if rows_of is None else rows_of
    with torch.cuda.device_of(x):
        _value[(triton.cdiv(rows, _ROWS),)](
            *(x, *rest, *along, out, tangent, mean, rstd, rows, channels, outputs, eps),
            FORWARD=tangents is not None,
            ROWS=_ROWS,
            CHANNELS=triton.next_power_of_2(channels),
            OUTPUTS=_OUTPUTS,
            PARTS=triton.cdiv(outputs, _OUTPUTS),
            num_warps=_WARPS,
        )
    return out, tangent


@triton.jit
def _value(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    pointwise: tl.tensor,
    dx: tl.tensor,
    dweight: tl.tensor,
    dbias: tl.tensor,
    dpointwise: tl.tensor,
    out: tl.tensor,
    tangent: tl.tensor,
    mean: tl.tensor,
    rstd: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    eps: tl.tensor,
    FORWARD: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PARTS: tl.constexpr,
) -> None:
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < channels
    mask = (row < rows)[:, None] & is_channel[None, :]
    place = row.to(tl.int64)[:, None] * channels + channel[None, :]
    values = tl.load(x + place, mask=mask, other=0.0)
    average, scale, scaled = statistics(values, is_channel, channels, eps)
    factor = tl.load(weight + channel, mask=is_channel, other=0.0)
    offset = tl.load(bias + channel, mask=is_channel, other=0.0)
    normed = scaled * factor[None, :] + offset[None, :]
    if FORWARD:
        along = jacobian(tl.load(dx + place, mask=mask, other=0.0), scaled, scale, channels)
        dfactor = tl.load(dweight + channel, mask=is_channel, other=0.0)
        doffset = tl.load(dbias + channel, mask=is_channel, other=0.0)
        dnormed = along * factor[None, :] + scaled * dfactor[None, :] + doffset[None, :]
    for part in range(PARTS):
        output = part * OUTPUTS + tl.arange(0, OUTPUTS)
        is_output = output < outputs
        taken_at = output[None, :] * channels + channel[:, None]
        is_taken = is_channel[:, None] & is_output[None, :]
        taken = tl.load(pointwise + taken_at, mask=is_taken, other=0.0)
        into = row.to(tl.int64)[:, None] * outputs + output[None, :]
        is_there = (row < rows)[:, None] & is_output[None, :]
        tl.store(out + into, tl.dot(normed, taken, input_precision="ieee"), mask=is_there)
        if FORWARD:
            dtaken = tl.load(dpointwise + taken_at, mask=is_taken, other=0.0)
            product = tl.dot(dnormed, taken, input_precision="ieee")
            tl.store(tangent + into, product + tl.dot(normed, dtaken, input_precision="ieee"), mask=is_there)
    if not FORWARD:
        tl.store(mean + row, average, mask=row < rows)
        tl.store(rstd + row, scale, mask=row < rows)


@triton.jit
def _vjp(
    grad: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    pointwise: tl.tensor,
    mean: tl.tensor,
    rstd: tl.tensor,
    grad_x: tl.tensor,
    weight_sums: tl.tensor,
    bias_sums: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PARTS: tl.constexpr,
    STEPS: tl.constexpr,
) -> None:
    program = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < channels
    factor = tl.load(weight + channel, mask=is_channel, other=0.0)
    of_weight = tl.zeros((CHANNELS,), tl.float32)
    of_bias = tl.zeros((CHANNELS,), tl.float32)
    for step in range(STEPS):
        row = (program * STEPS + step) * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & is_channel[None, :]
        place = row.to(tl.int64)[:, None] * channels + channel[None, :]
        given = tl.zeros((ROWS, CHANNELS), tl.float32)
        for part in range(PARTS):
            output = part * OUTPUTS + tl.arange(0, OUTPUTS)
            is_output = output < outputs
            from_output = tl.load(
                grad + row.to(tl.int64)[:, None] * outputs + output[None, :],
                mask=(row < rows)[:, None] & is_output[None, :],
                other=0.0,
            )
            taken = tl.load(
                pointwise + output[:, None] * channels + channel[None, :],
                mask=is_output[:, None] & is_channel[None, :],
                other=0.0,
            )
            given += tl.dot(from_output, taken, input_precision="ieee")
        scaled, scale = normalised_again(x, mean, rstd, row.to(tl.int64), rows, channel, channels)
        tl.store(grad_x + place, jacobian(given * factor[None, :], scaled, scale, channels), mask=mask)
        of_weight += tl.sum(given * scaled, axis=0)
        of_bias += tl.sum(given, axis=0)
    into = program * channels + channel
    tl.store(weight_sums + into, of_weight, mask=is_channel)
    tl.store(bias_sums + into, of_bias, mask=is_channel)


@triton.jit
def _pointwise_sums(
    grad: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    mean: tl.tensor,
    rstd: tl.tensor,
    partial_sums: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    STEPS: tl.constexpr,
) -> None:
    """The gradient in the pointwise weight of some rows and some outputs."""
    program = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < channels
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_output = output < outputs
    factor = tl.load(weight + channel, mask=is_channel, other=0.0)
    offset = tl.load(bias + channel, mask=is_channel, other=0.0)
    total = tl.zeros((OUTPUTS, CHANNELS), tl.float32)
    for step in range(STEPS):
        row = (program * STEPS + step) * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & is_channel[None, :]
        scaled, _ = normalised_again(x, mean, rstd, row.to(tl.int64), rows, channel, channels)
        normed = tl.where(mask, scaled * factor[None, :] + offset[None, :], 0.0)
        from_output = tl.load(
            grad + row.to(tl.int64)[None, :] * outputs + output[:, None],
            mask=is_output[:, None] & (row < rows)[None, :],
            other=0.0,
        )
        total += tl.dot(from_output, normed, input_precision="ieee")
    place = (program.to(tl.int64) * outputs + output)[:, None] * channels + channel[None, :]
    tl.store(partial_sums + place, total, mask=is_output[:, None] & is_channel[None, :])
