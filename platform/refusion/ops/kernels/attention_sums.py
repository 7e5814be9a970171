"""Sums over the pixels that channel attention is made of, in one pass over its maps; its weighted sum in another."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_PIXELS, _WARPS = 64, 4
_MOST_CHANNELS = 64
_MOST_PARTIAL_SUMS = 64


def serves(*maps: torch.Tensor) -> bool:
    """Tells whether the kernels run on q, k and v, (B, pixels, C) each: float32, channels one beside the other."""
    return all(
        one.dtype == torch.float32
        and 16 <= one.shape[2] <= _MOST_CHANNELS
        and one.stride(2) == 1
        and 0 < one.numel() < 2**31
        for one in maps
    )


def sums(q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns qᵀk (B, C, C) and the squared lengths (B, C) of q and of k, each (B, pixels, C), views with a step.

    The same each time: each program writes its own sums, which are then added in their order.
    """
    batch, pixels, channels = q.shape
    blocks = triton.cdiv(pixels, _PIXELS)
    steps = triton.cdiv(blocks, _MOST_PARTIAL_SUMS)
    programs = triton.cdiv(blocks, steps)
    gram = q.new_empty((batch, programs, channels, channels))
    squares = q.new_empty((2, batch, programs, channels))
    with torch.cuda.device_of(q):
        _sums[batch, programs](
            *(q, k, gram, squares[0], squares[1], pixels, channels, programs),
            *(q.stride(0), q.stride(1), k.stride(0), k.stride(1)),
            PIXELS=_PIXELS,
            CHANNELS=triton.next_power_of_2(channels),
            STEPS=steps,
            num_warps=_WARPS,
        )
    of_q, of_k = squares.sum(dim=2).unbind()
    return gram.sum(dim=1), of_q, of_k


def weighted_sum(v: torch.Tensor, matrix: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
    """Returns v · matrixᵀ, (B, pixels, outputs), plus the residual of that shape if there is one.

    Args:
        v: (B, pixels, C), a view with a step.
        matrix: (B, outputs, C), outputs no more than channels may be.
        residual: of as many values, such as (B, H, W, outputs).
    """
    batch, pixels, channels = v.shape
    outputs = matrix.shape[1]
    matrix = matrix.contiguous()
    out = v.new_empty((batch, pixels, outputs))
    with torch.cuda.device_of(v):
        _weighted[batch, triton.cdiv(pixels, _PIXELS)](
            *(v, matrix, out if residual is None else residual.contiguous(), out, pixels, channels, outputs),
            *(v.stride(0), v.stride(1)),
            ADDS=residual is not None,
            PIXELS=_PIXELS,
            CHANNELS=triton.next_power_of_2(channels),
            OUTPUTS=max(16, triton.next_power_of_2(outputs)),
            num_warps=_WARPS,
        )
    return out


@triton.jit
def _sums(
    q: tl.tensor,
    k: tl.tensor,
    gram: tl.tensor,
    q_squares: tl.tensor,
    k_squares: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    programs: tl.tensor,
    q_image: tl.tensor,
    q_pixel: tl.tensor,
    k_image: tl.tensor,
    k_pixel: tl.tensor,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
) -> None:
    image = tl.program_id(0).to(tl.int64)
    program = tl.program_id(1)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < channels
    total = tl.zeros((CHANNELS, CHANNELS), tl.float32)
    of_q = tl.zeros((CHANNELS,), tl.float32)
    of_k = tl.zeros((CHANNELS,), tl.float32)
    for step in range(STEPS):
        pixel = (program * STEPS + step) * PIXELS + tl.arange(0, PIXELS)
        mask = (pixel < pixels)[:, None] & is_channel[None, :]
        far = pixel.to(tl.int64)[:, None]
        some_q = tl.load(q + image * q_image + far * q_pixel + channel[None, :], mask=mask, other=0.0)
        some_k = tl.load(k + image * k_image + far * k_pixel + channel[None, :], mask=mask, other=0.0)
        total += tl.dot(tl.trans(some_q), some_k, input_precision="ieee")
        of_q += tl.sum(some_q * some_q, axis=0)
        of_k += tl.sum(some_k * some_k, axis=0)
    into = image * programs + program
    place = (into * channels + channel)[:, None] * channels + channel[None, :]
    tl.store(gram + place, total, mask=is_channel[:, None] & is_channel[None, :])
    tl.store(q_squares + into * channels + channel, of_q, mask=is_channel)
    tl.store(k_squares + into * channels + channel, of_k, mask=is_channel)


@triton.jit
def _weighted(
    v: tl.tensor,
    matrix: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    outputs: tl.tensor,
    v_image: tl.tensor,
    v_pixel: tl.tensor,
    ADDS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
) -> None:
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    output = tl.arange(0, OUTPUTS)
    some_v = tl.load(
        v + image * v_image + pixel.to(tl.int64)[:, None] * v_pixel + channel[None, :],
        mask=(pixel < pixels)[:, None] & (channel < channels)[None, :],
        other=0.0,
    )
    factors = tl.load(
        matrix + (image * outputs + output)[None, :] * channels + channel[:, None],
        mask=(channel < channels)[:, None] & (output < outputs)[None, :],
        other=0.0,
    )
    total = tl.dot(some_v, factors, input_precision="ieee")
    place = (image * pixels + pixel)[:, None] * outputs + output[None, :]
    mask = (pixel < pixels)[:, None] & (output < outputs)[None, :]
    if ADDS:
        total += tl.load(residual + place, mask=mask, other=0.0)
    tl.store(out + place, total, mask=mask)
