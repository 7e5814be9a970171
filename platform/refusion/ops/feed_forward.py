"""The gated feed-forward network with its residual, as a part that runs piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import full, narrow
from refusion.ops.convolutions import filter_maps, filter_maps_backward, mix, mix_backward, mix_change
from refusion.ops.fused_op import Part
from refusion.ops.geglu import Gated, gated, gated_change
from refusion.ops.layer_norm import Normalised, channel_norm
from refusion.ops.native.feed_forward import FeedForwardByRows
from refusion.ops.parts_by_rows import Slopes, Tensors


class _Made(NamedTuple):
    normalised: Normalised | None
    source: torch.Tensor
    wide: torch.Tensor
    gated: Gated


class FeedForward(Part[_Made]):
    """x + project · (gelu(gate) · value), gate and value being 3×3-filtered mixes of the (normalised) channels.

    Inputs: x (B, H, W, C); weight and bias (C) of the norm, if there is one; widen (2N, C, 1, 1), the mixes of N gates
    and N values; kernels (2N, 1, 3, 3); project (C, N, 1, 1).
    """

    halo = 1
    compiled = FeedForwardByRows()

    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x, *norm = inputs[:-3]
        widen, kernels, project = (narrow(weight) for weight in inputs[-3:])
        source = narrow(channel_norm(x, *norm) if norm else x)
        return x[:, rows] + full(mix(gated(filter_maps(mix(source, widen), kernels), rows), project))

    def make(self, inputs: Tensors, rows: slice) -> _Made:
        x, *norm, widen, kernels, _ = inputs
        normalised = Normalised.of(x, *norm) if norm else None
        source = narrow(x if normalised is None else normalised.out)
        wide = mix(source, narrow(widen))
        return _Made(normalised, source, wide, Gated.of(filter_maps(wide, narrow(kernels)), rows))

    def finish(self, inputs: Tensors, rows: slice, made: _Made) -> torch.Tensor:
        return full(mix(made.gated.result(), narrow(inputs[-1]))).add_(inputs[0][:, rows])

    def backward(
        self, inputs: Tensors, rows: slice, made: _Made, slope: torch.Tensor, wanted: Sequence[bool]
    ) -> Slopes:
        widen, kernels, project = (narrow(weight) for weight in inputs[-3:])
        normalised, source, wide, gates = made
        of_product, of_project = mix_backward(narrow(slope), gates.result(), project, wanted[-1])
        of_wide, of_kernels = filter_maps_backward(gates.backward(of_product), wide, kernels, wanted[-2])
        of_x, of_widen = mix_backward(of_wide, source, widen, wanted[-3])
        of_x = full(of_x)
        of_norm: Slopes = ()
        if normalised is not None:
            of_x, *of_norm = normalised.backward(of_x, wanted[1:3])
        of_x[:, rows] += slope
        of_weights = (None if one is None else full(one) for one in (of_widen, of_kernels, of_project))
        return of_x, *of_norm, *of_weights

    def change(self, inputs: Tensors, changes: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        (x, *norm), (dx, *dnorm) = inputs[:-3], changes[:-3]
        widen, kernels, project = (narrow(weight) for weight in inputs[-3:])
        dwiden, dkernels, dproject = (narrow(change) for change in changes[-3:])
        source, dsource = x, dx
        if norm:
            normalised = Normalised.of(x, *norm)
            source, dsource = normalised.out, normalised.change(dx, *dnorm)
        source, dsource = narrow(source), narrow(dsource)
        wide = mix(source, widen)
        moved = mix_change(source, widen, dsource, dwiden)
        moved = filter_maps(moved, kernels).add_(filter_maps(wide, dkernels))
        product, moved = gated_change(filter_maps(wide, kernels), moved, rows)
        out = full(mix(product, project)).add_(x[:, rows])
        return out, full(mix(moved, project).add_(mix(product, dproject))).add_(dx[:, rows])
