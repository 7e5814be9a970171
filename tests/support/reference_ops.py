"""The operations as they are defined, channels last, (B, H, W, C), and without regard to speed."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    # Not `F.layer_norm`: its third derivatives, which the vjp of a jvp is made of, lack terms in PyTorch 2.13.
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def geglu(x: torch.Tensor) -> torch.Tensor:
    gate, value = x.chunk(2, dim=-1)
    return F.gelu(gate) * value


def conv(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A pointwise convolution, or a depthwise one with 3×3 weights."""
    size = weight.shape[-1]
    groups = weight.shape[0] if size == 3 else 1
    return F.conv2d(x.permute(0, 3, 1, 2), weight, padding=size // 2, groups=groups).permute(0, 2, 3, 1)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Head by head softmax(q kᵀ · temperature) v, channels of q and k having unit length."""
    batch, height, width, channels = q.shape
    heads = temperature.shape[0]
    q, k, v = (x.permute(0, 3, 1, 2).reshape(batch, heads, channels // heads, height * width) for x in (q, k, v))
    q, k = (x / x.square().sum(dim=3, keepdim=True).sqrt() for x in (q, k))
    out = (q @ k.transpose(2, 3) * temperature).softmax(dim=3) @ v
    return out.reshape(batch, channels, height, width).permute(0, 2, 3, 1)


def qkv_attention(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Streams' qkv, their temperatures, their projections: each stream takes q of the one before."""
    count = len(inputs) // 3
    queries, keys, values = zip(*(qkv.chunk(3, dim=3) for qkv in inputs[:count]), strict=True)
    outs = (attention(queries[i - 1], keys[i], values[i], inputs[count + i]) for i in range(count))
    return tuple(out @ inputs[2 * count + i].T for i, out in enumerate(outs))


def gated_feed_forward(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    *norm, pointwise, depthwise, projection = parameters
    source = layer_norm(x, *norm) if norm else x
    return x + conv(geglu(conv(conv(source, pointwise), depthwise)), projection)


def channel_attention(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    pointwise: torch.Tensor,
    depthwise: torch.Tensor,
    *small: torch.Tensor,
) -> torch.Tensor:
    (out,) = qkv_attention(conv(conv(layer_norm(x, weight, bias), pointwise), depthwise), *small)
    return x + out


def cross_attention(x1: torch.Tensor, x2: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    pointwise1, depthwise1, pointwise2, depthwise2, *small = parameters
    qkv1, qkv2 = conv(conv(x1, pointwise1), depthwise1), conv(conv(x2, pointwise2), depthwise2)
    return torch.cat((x1, x2), dim=3) + torch.cat(qkv_attention(qkv1, qkv2, *small), dim=3)
