"""Attention with its residual, as parts that run image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.backend import full, narrow
from refusion.ops.channel_attention import Attended, attend_among, attention_change
from refusion.ops.convolutions import filter_maps, filter_maps_backward, mix, mix_backward, mix_change
from refusion.ops.fused_op import Part
from refusion.ops.layer_norm import Normalised, channel_norm
from refusion.ops.native.attention import AttentionByRows
from refusion.ops.parts_by_rows import Slopes, Tensors


class _Maps(NamedTuple):
    """Those for q, k and v of one stream, and what they are made by way of."""

    source: torch.Tensor
    wide: torch.Tensor
    qkv: torch.Tensor


class _Made(NamedTuple):
    normalised: Normalised | None
    maps: list[_Maps]
    attended: Attended


class SelfAttention(Part[_Made]):
    """x + attention of the normalised x to itself.

    Inputs: x (B, H, W, C); weight and bias (C) of the norm; widen (3C, C, 1, 1) and kernels (3C, 1, 3, 3) for q, k
    and v; temperature (heads, 1, 1); projection (C, C).
    """

    halo = None
    compiled = AttentionByRows(1)

    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x, weight, bias, widen, kernels, *small = inputs
        (out,) = attend_among(_qkv(channel_norm(x, weight, bias), widen, kernels).qkv, *small)
        return x + out

    def make(self, inputs: Tensors, rows: slice) -> _Made:
        x, weight, bias, widen, kernels, *small = inputs
        normalised = Normalised.of(x, weight, bias)
        maps = _qkv(normalised.out, widen, kernels)
        return _Made(normalised, [maps], Attended.of(maps.qkv, *small))

    def finish(self, inputs: Tensors, rows: slice, made: _Made) -> torch.Tensor:
        return made.attended.results()[0].add_(inputs[0])

    def backward(
        self, inputs: Tensors, rows: slice, made: _Made, slope: torch.Tensor, wanted: Sequence[bool]
    ) -> Slopes:
        _, _, _, widen, kernels, *_ = inputs
        normalised, (maps,), attended = made
        assert normalised is not None
        of_qkv, *of_small = attended.backward([slope])
        of_x, of_widen, of_kernels = _qkv_backward(of_qkv, maps, [widen, kernels], wanted[3:5])
        of_x, *of_norm = normalised.backward(of_x, wanted[1:3])
        return of_x.add_(slope), *of_norm, of_widen, of_kernels, *of_small

    def change(self, inputs: Tensors, changes: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight, bias, widen, kernels, *small = inputs
        dx, dweight, dbias, dwiden, dkernels, *dsmall = changes
        normalised = Normalised.of(x, weight, bias)
        source, dsource = normalised.out, normalised.change(dx, dweight, dbias)
        qkv, dqkv = _widened([source, widen, kernels], [dsource, dwiden, dkernels])
        ((out, change),) = attention_change([qkv, *small], [dqkv, *dsmall])
        return out.add_(x), change.add_(dx)


class CrossAttention(Part[_Made]):
    """Two streams side by side, each plus its attention to the other: (B, H, W, C) and the same to (B, H, W, 2C).

    Inputs: x1, x2; of the first, then of the second stream widen (3C, C, 1, 1) and kernels (3C, 1, 3, 3) for q, k and
    v; both temperatures (heads, 1, 1); both projections (C, C).
    """

    halo = None
    maps = 2
    compiled = AttentionByRows(2)

    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x1, x2, widen1, kernels1, widen2, kernels2, *small = inputs
        qkv = _qkv(x1, widen1, kernels1).qkv, _qkv(x2, widen2, kernels2).qkv
        return torch.cat((x1, x2), dim=3) + torch.cat(attend_among(*qkv, *small), dim=3)

    def make(self, inputs: Tensors, rows: slice) -> _Made:
        x1, x2, widen1, kernels1, widen2, kernels2, *small = inputs
        maps = [_qkv(x1, widen1, kernels1), _qkv(x2, widen2, kernels2)]
        return _Made(None, maps, Attended.of(*(one.qkv for one in maps), *small))

    def finish(self, inputs: Tensors, rows: slice, made: _Made) -> torch.Tensor:
        return torch.cat(made.attended.results(), dim=3).add_(torch.cat((inputs[0], inputs[1]), dim=3))

    def backward(
        self, inputs: Tensors, rows: slice, made: _Made, slope: torch.Tensor, wanted: Sequence[bool]
    ) -> Slopes:
        halves = slope.chunk(2, dim=3)
        *of_qkv, of_temperature1, of_temperature2, of_project1, of_project2 = made.attended.backward(halves)
        of_sources, of_convolutions = [], []
        for stream in range(2):
            first = 2 + 2 * stream
            of_source, of_widen, of_kernels = _qkv_backward(
                of_qkv[stream], made.maps[stream], inputs[first : first + 2], wanted[first : first + 2]
            )
            of_sources.append(of_source.add_(halves[stream]))
            of_convolutions += [of_widen, of_kernels]
        return *of_sources, *of_convolutions, of_temperature1, of_temperature2, of_project1, of_project2

    def change(self, inputs: Tensors, changes: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        streams = [
            _widened(*([tensors[stream], *tensors[2 + 2 * stream : 4 + 2 * stream]] for tensors in (inputs, changes)))
            for stream in range(2)
        ]
        outs = attention_change(
            [*(qkv for qkv, _ in streams), *inputs[6:]], [*(dqkv for _, dqkv in streams), *changes[6:]]
        )
        out, change = (torch.cat(tensors, dim=3) for tensors in zip(*outs, strict=True))
        return out.add_(torch.cat((inputs[0], inputs[1]), dim=3)), change.add_(
            torch.cat((changes[0], changes[1]), dim=3)
        )


def _qkv(x: torch.Tensor, widen: torch.Tensor, kernels: torch.Tensor) -> _Maps:
    source = narrow(x)
    wide = mix(source, narrow(widen))
    return _Maps(source, wide, full(filter_maps(wide, narrow(kernels))))


def _qkv_backward(
    of_qkv: torch.Tensor, maps: _Maps, weights: Tensors, wanted: Sequence[bool]
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The slopes in their source and, if wanted, in its mix and its kernels."""
    widen, kernels = (narrow(weight) for weight in weights)
    of_wide, of_kernels = filter_maps_backward(narrow(of_qkv), maps.wide, kernels, wanted[1])
    of_x, of_widen = mix_backward(of_wide, maps.source, widen, wanted[0])
    of_widen, of_kernels = (None if one is None else full(one) for one in (of_widen, of_kernels))
    return full(of_x), of_widen, of_kernels


def _widened(inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """The maps for q, k and v from a source, its mix and its kernels; and their change."""
    x, widen, kernels, dx, dwiden, dkernels = (narrow(tensor) for tensor in (*inputs, *changes))
    wide = mix(x, widen)
    moved = mix_change(x, widen, dx, dwiden)
    return full(filter_maps(wide, kernels)), full(filter_maps(moved, kernels).add_(filter_maps(wide, dkernels)))
