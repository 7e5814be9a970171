"""A network's sublayers on a GPU as few, large Triton kernels, with derivatives that are written by hand.

They run in the place of other operations where `backend.fuses_on_gpu` says so. What they leave out is a map of normed
values, and, in the feed-forward network, the convolved map and its GELU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import fuses_on_gpu
from refusion.ops.channel_attention import SavedAttention, qkv_attention_jvp
from refusion.ops.convolutions import (
    depthwise_conv,
    depthwise_conv_vjp,
    pointwise_conv,
    pointwise_conv_jvp,
    pointwise_conv_vjp,
)
from refusion.ops.fused_op import FusedOp, Grads, Reference, Tensors
from refusion.ops.layer_norm import EPS


class Wide(NamedTuple):
    """Maps behind a pointwise convolution, of a norm's result or of x itself.

    Attributes:
        x, norm, pointwise: what it was computed of; the norm's weight and bias, or nothing.
        out: the maps.
        rows: mean and reciprocal deviation of each pixel, or nothing.
    """

    x: torch.Tensor
    norm: tuple[torch.Tensor, ...]
    pointwise: torch.Tensor
    out: torch.Tensor
    rows: tuple[torch.Tensor, ...]

    @staticmethod
    def of(x: torch.Tensor, norm: Tensors, pointwise: torch.Tensor) -> Wide:
        """Computes it."""
        if not norm:
            return Wide(x, (), pointwise, pointwise_conv(x, pointwise), ())
        from refusion.ops.kernels import norm_pointwise

        weight, bias = norm
        out, *rows = norm_pointwise.value(x, weight, bias, pointwise, EPS)
        return Wide(x, (weight, bias), pointwise, out, tuple(rows))

    def vjp(self, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gradients in x, weight and bias if there is a norm, and pointwise."""
        if not self.norm:
            grad_x, grad_pointwise = pointwise_conv_vjp(grad, self.x, self.pointwise)
            assert grad_pointwise is not None
            return grad_x, grad_pointwise
        from refusion.ops.kernels import norm_pointwise

        (weight, bias), (mean, rstd) = self.norm, self.rows
        return norm_pointwise.vjp(grad, self.x, weight, bias, self.pointwise, mean, rstd)


def _wide_jvp(
    x: torch.Tensor,
    norm: Tensors,
    pointwise: torch.Tensor,
    dx: torch.Tensor,
    dnorm: Tensors,
    dpointwise: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`Wide.of(x, norm, pointwise).out` and its tangent."""
    if not norm:
        return pointwise_conv(x, pointwise), pointwise_conv_jvp(x, pointwise, dx, dpointwise)
    from refusion.ops.kernels import norm_pointwise

    return norm_pointwise.jvp([x, *norm, pointwise], [dx, *dnorm, dpointwise], EPS)


def _wide_is_served(x: torch.Tensor, norm: Tensors, pointwise: torch.Tensor) -> bool:
    from refusion.ops.kernels import norm_pointwise

    return not norm or norm_pointwise.serves(x, pointwise)


class _SavedFeedForward(NamedTuple):
    wide: Wide
    product: torch.Tensor


class GpuFeedForward(FusedOp[_SavedFeedForward]):
    """`feed_forward.GatedFeedForward`, of the same inputs."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def serves(self, inputs: Tensors) -> bool:
        """Tells whether the kernels run on these inputs."""
        if not fuses_on_gpu(inputs[0]):
            return False
        from refusion.ops.kernels import gated_depthwise

        x, *norm, pointwise, depthwise, _ = inputs
        wide = x.new_empty((), device="meta").expand(*x.shape[:3], depthwise.shape[0])
        return _wide_is_served(x, norm, pointwise) and gated_depthwise.serves(wide, depthwise)

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return self._reference(inputs, rows)

    def save(self, inputs: Tensors, rows: slice) -> _SavedFeedForward:
        from refusion.ops.kernels import gated_depthwise

        x, *norm, pointwise, depthwise, _ = inputs
        wide = Wide.of(x, norm, pointwise)
        return _SavedFeedForward(wide, gated_depthwise.value(wide.out, depthwise))

    def value(self, inputs: Tensors, rows: slice, saved: _SavedFeedForward) -> torch.Tensor:
        return pointwise_conv(saved.product, inputs[-1]).add_(inputs[0])

    def vjp(
        self, inputs: Tensors, rows: slice, saved: _SavedFeedForward, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        from refusion.ops.kernels import gated_depthwise

        *_, depthwise, projection = inputs
        grad_product, grad_projection = pointwise_conv_vjp(grad, saved.product, projection, needs_grad[-1])
        grad_wide, grad_depthwise = gated_depthwise.vjp(grad_product, saved.wide.out, depthwise, needs_grad[-2])
        grad_x, *grads = saved.wide.vjp(grad_wide)
        return grad_x.add_(grad), *grads, grad_depthwise, grad_projection

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        from refusion.ops.kernels import gated_depthwise

        x, *norm, pointwise, depthwise, projection = inputs
        dx, *dnorm, dpointwise, ddepthwise, dprojection = tangents
        wide, dwide = _wide_jvp(x, norm, pointwise, dx, dnorm, dpointwise)
        product, dproduct = gated_depthwise.jvp(wide, depthwise, dwide, ddepthwise)
        tangent = pointwise_conv_jvp(product, projection, dproduct, dprojection)
        return pointwise_conv(product, projection).add_(x), tangent.add_(dx)


class _SavedAttentionLayer(NamedTuple):
    wide: Wide
    attention: SavedAttention


class GpuChannelAttention(FusedOp[_SavedAttentionLayer]):
    """`sublayers.ChannelAttention`, of the same inputs."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def serves(self, inputs: Tensors) -> bool:
        """Tells whether the kernels run on these inputs."""
        return fuses_on_gpu(inputs[0]) and _wide_is_served(inputs[0], inputs[1:3], inputs[3])

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return self._reference(inputs, rows)

    def save(self, inputs: Tensors, rows: slice) -> _SavedAttentionLayer:
        x, weight, bias, pointwise, depthwise, *small = inputs
        wide = Wide.of(x, (weight, bias), pointwise)
        return _SavedAttentionLayer(wide, SavedAttention.of(depthwise_conv(wide.out, depthwise), *small))

    def value(self, inputs: Tensors, rows: slice, saved: _SavedAttentionLayer) -> torch.Tensor:
        return saved.attention.values([inputs[0]])[0]

    def vjp(
        self, inputs: Tensors, rows: slice, saved: _SavedAttentionLayer, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        grad_qkv, *grad_small = saved.attention.vjp([grad])
        grad_wide, grad_depthwise = depthwise_conv_vjp(grad_qkv, saved.wide.out, inputs[4], needs_grad[4])
        grad_x, *grads = saved.wide.vjp(grad_wide)
        return grad_x.add_(grad), *grads, grad_depthwise, *grad_small

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight, bias, pointwise, depthwise, *small = inputs
        dx, dweight, dbias, dpointwise, ddepthwise, *dsmall = tangents
        wide, dwide = _wide_jvp(x, (weight, bias), pointwise, dx, (dweight, dbias), dpointwise)
        dqkv = depthwise_conv(dwide, depthwise).add_(depthwise_conv(wide, ddepthwise))
        qkv = depthwise_conv(wide, depthwise)
        ((out, tangent),) = qkv_attention_jvp([qkv, *small], [dqkv, *dsmall])
        return out.add_(x), tangent.add_(dx)
