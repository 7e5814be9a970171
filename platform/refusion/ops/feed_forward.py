"""The gated feed-forward network with its residual, on maps that are channels last, as one fused operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import full, narrow
from refusion.ops.convolutions import (
    depthwise_conv,
    depthwise_conv_vjp,
    pointwise_conv,
    pointwise_conv_jvp,
    pointwise_conv_vjp,
)
from refusion.ops.fused_op import FusedOp, Grads, Tensors, run
from refusion.ops.geglu import SavedGeglu, geglu, geglu_jvp
from refusion.ops.gpu_sublayers import GpuFeedForward
from refusion.ops.layer_norm import SavedLayerNorm, layer_norm
from refusion.ops.native.feed_forward import NativeFeedForward


def gated_feed_forward(
    x: torch.Tensor,
    pointwise: torch.Tensor,
    depthwise: torch.Tensor,
    projection: torch.Tensor,
    norm: Tensors = (),
) -> torch.Tensor:
    """x + projection · geglu(depthwise(pointwise(layer_norm(x)))): (B, H, W, C) to the same.

    Args:
        pointwise: (2N, C, 1, 1), for N gates, then N values.
        depthwise: (2N, 1, 3, 3).
        projection: (C, N, 1, 1).
        norm: weight and bias (C); without them there is no LayerNorm.

    Example:
        >>> x, weights = torch.rand(2, 5, 4, 8), (torch.rand(12, 8, 1, 1), torch.rand(12, 1, 3, 3))
        >>> torch.equal(gated_feed_forward(x, *weights, projection=torch.zeros(8, 6, 1, 1)), x)
        True
    """
    return run(_GATED_FEED_FORWARD, [x, *norm, pointwise, depthwise, projection])


class _SavedFeedForward(NamedTuple):
    norm: SavedLayerNorm | None
    source: torch.Tensor
    wide: torch.Tensor
    geglu: SavedGeglu


class GatedFeedForward(FusedOp[_SavedFeedForward]):
    """`gated_feed_forward`: of x, weight and bias of the norm if there is one, pointwise, depthwise, projection."""

    halo = 1

    def __init__(self) -> None:
        self.native = NativeFeedForward(self.reference)
        self.gpu = GpuFeedForward(self.reference)

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x, *norm = inputs[:-3]
        pointwise, depthwise, projection = (narrow(weight) for weight in inputs[-3:])
        source = narrow(layer_norm(x, *norm) if norm else x)
        product = geglu(depthwise_conv(pointwise_conv(source, pointwise), depthwise), rows)
        return x[:, rows] + full(pointwise_conv(product, projection))

    def save(self, inputs: Tensors, rows: slice) -> _SavedFeedForward:
        x, *parameters, pointwise, depthwise, _ = inputs
        norm = SavedLayerNorm.of(x, *parameters) if parameters else None
        source = narrow(x if norm is None else norm.out)
        wide = pointwise_conv(source, narrow(pointwise))
        return _SavedFeedForward(norm, source, wide, SavedGeglu.of(depthwise_conv(wide, narrow(depthwise)), rows))

    def value(self, inputs: Tensors, rows: slice, saved: _SavedFeedForward) -> torch.Tensor:
        return full(pointwise_conv(saved.geglu.value(), narrow(inputs[-1]))).add_(inputs[0][:, rows])

    def vjp(
        self, inputs: Tensors, rows: slice, saved: _SavedFeedForward, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        pointwise, depthwise, projection = (narrow(weight) for weight in inputs[-3:])
        norm, source, wide, gates = saved
        grad_product, grad_projection = pointwise_conv_vjp(narrow(grad), gates.value(), projection, needs_grad[-1])
        grad_wide, grad_depthwise = depthwise_conv_vjp(gates.vjp(grad_product), wide, depthwise, needs_grad[-2])
        grad_x, grad_pointwise = pointwise_conv_vjp(grad_wide, source, pointwise, needs_grad[-3])
        grad_x = full(grad_x)
        grad_norm: Grads = ()
        if norm is not None:
            grad_x, *grad_norm = norm.vjp(grad_x, needs_grad[1:3])
        grad_x[:, rows] += grad
        weights = grad_pointwise, grad_depthwise, grad_projection
        return grad_x, *grad_norm, *(None if one is None else full(one) for one in weights)

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        (x, *norm), (dx, *dnorm) = inputs[:-3], tangents[:-3]
        pointwise, depthwise, projection = (narrow(weight) for weight in inputs[-3:])
        dpointwise, ddepthwise, dprojection = (narrow(tangent) for tangent in tangents[-3:])
        source, dsource = x, dx
        if norm:
            saved = SavedLayerNorm.of(x, *norm)
            source, dsource = saved.out, saved.jvp(dx, *dnorm)
        source, dsource = narrow(source), narrow(dsource)
        wide = pointwise_conv(source, pointwise)
        dwide = pointwise_conv_jvp(source, pointwise, dsource, dpointwise)
        dwide = depthwise_conv(dwide, depthwise).add_(depthwise_conv(wide, ddepthwise))
        product, dproduct = geglu_jvp(depthwise_conv(wide, depthwise), dwide, rows)
        out = full(pointwise_conv(product, projection)).add_(x[:, rows])
        dout = pointwise_conv(dproduct, projection).add_(pointwise_conv(product, dprojection))
        return out, full(dout).add_(dx[:, rows])


_GATED_FEED_FORWARD = GatedFeedForward()
