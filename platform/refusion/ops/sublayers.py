"""Attention among channels with its residual, of one stream and between two, each as one fused operation.

All maps are channels last, (B, H, W, C). The operations are differentiable to second order: backward and backward, or
forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import full, narrow
from refusion.ops.channel_attention import SavedAttention, qkv_attention, qkv_attention_jvp
from refusion.ops.convolutions import (
    depthwise_conv,
    depthwise_conv_vjp,
    pointwise_conv,
    pointwise_conv_jvp,
    pointwise_conv_vjp,
)
from refusion.ops.fused_op import FusedOp, Grads, Tensors, run
from refusion.ops.gpu_sublayers import GpuChannelAttention
from refusion.ops.layer_norm import SavedLayerNorm, layer_norm
from refusion.ops.native.attention import NativeAttention


def channel_attention(
    x: torch.Tensor,
    norm: Tensors,
    pointwise: torch.Tensor,
    depthwise: torch.Tensor,
    temperature: torch.Tensor,
    projection: torch.Tensor,
) -> torch.Tensor:
    """x + attention of layer_norm(x) among its channels: (B, H, W, C) to the same.

    Per head softmax(q kᵀ · temperature) v, channels of q and k having unit length over the pixels, so that the cost is
    linear in these; q, k and v are pointwise, then depthwise convolutions.

    Args:
        norm: weight and bias (C).
        pointwise: (3C, C, 1, 1), for q, then k, then v.
        depthwise: (3C, 1, 3, 3).
        temperature: (heads, 1, 1), where heads divide C.
        projection: (C, C), of the result.

    Example:
        >>> x, norm = torch.rand(2, 5, 4, 8), (torch.ones(8), torch.zeros(8))
        >>> weights = torch.rand(24, 8, 1, 1), torch.rand(24, 1, 3, 3)
        >>> channel_attention(x, norm, *weights, temperature=torch.ones(4, 1, 1), projection=torch.eye(8)).shape
        torch.Size([2, 5, 4, 8])
    """
    return run(_CHANNEL_ATTENTION, [x, *norm, pointwise, depthwise, temperature, projection])


def channel_cross_attention(
    x1: torch.Tensor,
    x2: torch.Tensor,
    convolutions1: Tensors,
    convolutions2: Tensors,
    temperatures: Tensors,
    projections: Tensors,
) -> torch.Tensor:
    """Two streams (B, H, W, C) side by side, (B, H, W, 2C), each plus attention with q of the other.

    Args:
        convolutions1, convolutions2: of a stream, pointwise (3C, C, 1, 1) and depthwise (3C, 1, 3, 3), for q, k and v.
        temperatures: two of (heads, 1, 1), where heads divide C.
        projections: two of (C, C).

    Example:
        >>> x, convolutions = torch.rand(2, 5, 4, 8), (torch.rand(24, 8, 1, 1), torch.rand(24, 1, 3, 3))
        >>> temperatures, projections = [torch.ones(4, 1, 1)] * 2, [torch.zeros(8, 8)] * 2
        >>> joined = channel_cross_attention(x, x, convolutions, convolutions, temperatures, projections)
        >>> torch.equal(joined, torch.cat((x, x), dim=3))
        True
    """
    return run(_CROSS_ATTENTION, [x1, x2, *convolutions1, *convolutions2, *temperatures, *projections])


class _Qkv(NamedTuple):
    """Maps for q, k and v of one stream, and the maps that they are computed from."""

    source: torch.Tensor
    wide: torch.Tensor
    qkv: torch.Tensor

    @staticmethod
    def of(x: torch.Tensor, pointwise: torch.Tensor, depthwise: torch.Tensor) -> _Qkv:
        source = narrow(x)
        wide = pointwise_conv(source, narrow(pointwise))
        return _Qkv(source, wide, full(depthwise_conv(wide, narrow(depthwise))))

    def vjp(
        self, grad: torch.Tensor, weights: Tensors, needs_grad: Sequence[bool]
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Gradients in the source and, if needed, in the two weights."""
        pointwise, depthwise = (narrow(weight) for weight in weights)
        grad_wide, grad_depthwise = depthwise_conv_vjp(narrow(grad), self.wide, depthwise, needs_grad[1])
        grad_x, grad_pointwise = pointwise_conv_vjp(grad_wide, self.source, pointwise, needs_grad[0])
        grad_pointwise, grad_depthwise = (
            None if one is None else full(one) for one in (grad_pointwise, grad_depthwise)
        )
        return full(grad_x), grad_pointwise, grad_depthwise


def _qkv_jvp(inputs: Tensors, tangents: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps for q, k and v of a source and its two weights, and their tangent."""
    x, pointwise, depthwise, dx, dpointwise, ddepthwise = (narrow(tensor) for tensor in (*inputs, *tangents))
    wide = pointwise_conv(x, pointwise)
    dwide = pointwise_conv_jvp(x, pointwise, dx, dpointwise)
    tangent = depthwise_conv(dwide, depthwise).add_(depthwise_conv(wide, ddepthwise))
    return full(depthwise_conv(wide, depthwise)), full(tangent)


class _SavedSublayer(NamedTuple):
    norm: SavedLayerNorm | None
    streams: list[_Qkv]
    attention: SavedAttention


class ChannelAttention(FusedOp[_SavedSublayer]):
    """`channel_attention`; its parameters in the order of the arguments."""

    def __init__(self) -> None:
        self.native = NativeAttention(1, self.reference)
        self.gpu = GpuChannelAttention(self.reference)

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x, weight, bias, pointwise, depthwise, *small = inputs
        (out,) = qkv_attention(_Qkv.of(layer_norm(x, weight, bias), pointwise, depthwise).qkv, *small)
        return x + out

    def save(self, inputs: Tensors, rows: slice) -> _SavedSublayer:
        x, weight, bias, pointwise, depthwise, *small = inputs
        norm = SavedLayerNorm.of(x, weight, bias)
        stream = _Qkv.of(norm.out, pointwise, depthwise)
        return _SavedSublayer(norm, [stream], SavedAttention.of(stream.qkv, *small))

    def value(self, inputs: Tensors, rows: slice, saved: _SavedSublayer) -> torch.Tensor:
        return saved.attention.values()[0].add_(inputs[0])

    def vjp(
        self, inputs: Tensors, rows: slice, saved: _SavedSublayer, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        norm, (stream,), attention = saved
        assert norm is not None
        grad_qkv, *grad_small = attention.vjp([grad])
        grad_x, *grad_convolutions = stream.vjp(grad_qkv, inputs[3:5], needs_grad[3:5])
        grad_x, *grad_norm = norm.vjp(grad_x, needs_grad[1:3])
        return grad_x.add_(grad), *grad_norm, *grad_convolutions, *grad_small

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight, bias, pointwise, depthwise, *small = inputs
        dx, dweight, dbias, dpointwise, ddepthwise, *dsmall = tangents
        norm = SavedLayerNorm.of(x, weight, bias)
        source, dsource = norm.out, norm.jvp(dx, dweight, dbias)
        qkv, dqkv = _qkv_jvp([source, pointwise, depthwise], [dsource, dpointwise, ddepthwise])
        ((out, tangent),) = qkv_attention_jvp([qkv, *small], [dqkv, *dsmall])
        return out.add_(x), tangent.add_(dx)


class CrossAttention(FusedOp[_SavedSublayer]):
    """`channel_cross_attention`; its parameters in the order of the arguments."""

    maps = 2

    def __init__(self) -> None:
        self.native = NativeAttention(2, self.reference)

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x1, x2, pointwise1, depthwise1, pointwise2, depthwise2, *small = inputs
        qkv = _Qkv.of(x1, pointwise1, depthwise1).qkv, _Qkv.of(x2, pointwise2, depthwise2).qkv
        return torch.cat((x1, x2), dim=3) + torch.cat(qkv_attention(*qkv, *small), dim=3)

    def save(self, inputs: Tensors, rows: slice) -> _SavedSublayer:
        x1, x2, pointwise1, depthwise1, pointwise2, depthwise2, *small = inputs
        streams = [_Qkv.of(x1, pointwise1, depthwise1), _Qkv.of(x2, pointwise2, depthwise2)]
        return _SavedSublayer(None, streams, SavedAttention.of(*(stream.qkv for stream in streams), *small))

    def value(self, inputs: Tensors, rows: slice, saved: _SavedSublayer) -> torch.Tensor:
        return torch.cat(saved.attention.values(), dim=3).add_(torch.cat((inputs[0], inputs[1]), dim=3))

    def vjp(
        self, inputs: Tensors, rows: slice, saved: _SavedSublayer, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        halves = grad.chunk(2, dim=3)
        grads = saved.attention.vjp(halves)
        grad_qkv, grad_small = grads[:2], grads[2:]
        grad_maps, grad_convolutions = [], []
        for stream in range(2):
            weights = slice(2 + 2 * stream, 4 + 2 * stream)
            grad_x, *of_weights = saved.streams[stream].vjp(grad_qkv[stream], inputs[weights], needs_grad[weights])
            grad_maps.append(grad_x.add_(halves[stream]))
            grad_convolutions += of_weights
        return *grad_maps, *grad_convolutions, *grad_small

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        streams = [
            _qkv_jvp(*([tensors[stream], *tensors[2 + 2 * stream : 4 + 2 * stream]] for tensors in (inputs, tangents)))
            for stream in range(2)
        ]
        pairs = qkv_attention_jvp(
            [*(qkv for qkv, _ in streams), *inputs[6:]], [*(dqkv for _, dqkv in streams), *tangents[6:]]
        )
        out, tangent = (torch.cat(tensors, dim=3) for tensors in zip(*pairs, strict=True))
        return out.add_(torch.cat((inputs[0], inputs[1]), dim=3)), tangent.add_(
            torch.cat((tangents[0], tangents[1]), dim=3)
        )


_CHANNEL_ATTENTION, _CROSS_ATTENTION = ChannelAttention(), CrossAttention()
