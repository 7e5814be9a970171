"""Attention with its residual, as parts that run image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.networks.attending import Attended, attend_among, attention_change
from refusion.networks.convolutions import filter_maps, filter_maps_backward, mix, mix_backward, mix_change
from refusion.networks.normalisation import Normalised, channel_norm
from refusion.networks.pieces import Part, Slopes, Tensors


class _Made(NamedTuple):
    normalised: Normalised | None
    wide: list[torch.Tensor]
    attended: Attended


class SelfAttention(Part[_Made]):
    """x + attention of the normalised x to itself.

    Inputs: x (B, H, W, C); weight and bias (C) of the norm; widen (3C, C, 1, 1) and kernels (3C, 1, 3, 3) for q, k
    and v; temperature (heads, 1, 1); projection (C, C).
    """

    halo = None

    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x, weight, bias, widen, kernels, *small = inputs
        (out,) = attend_among(filter_maps(mix(channel_norm(x, weight, bias), widen), kernels), *small)
        return x + out

    def make(self, inputs: Tensors, rows: slice) -> _Made:
        x, weight, bias, widen, kernels, *small = inputs
        normalised = Normalised.of(x, weight, bias)
        wide = mix(normalised.out, widen)
        return _Made(normalised, [wide], Attended.of(filter_maps(wide, kernels), *small))

    def finish(self, inputs: Tensors, rows: slice, made: _Made) -> torch.Tensor:
        return made.attended.results()[0].add_(inputs[0])

    def backward(
        self, inputs: Tensors, rows: slice, made: _Made, slope: torch.Tensor, wanted: Sequence[bool]
    ) -> Slopes:
        _, _, _, widen, kernels, *_ = inputs
        normalised, (wide,), attended = made
        assert normalised is not None
        of_qkv, *of_small = attended.backward([slope])
        of_wide, of_kernels = filter_maps_backward(of_qkv, wide, kernels, wanted[4])
        of_x, of_widen = mix_backward(of_wide, normalised.out, widen, wanted[3])
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

    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        x1, x2, widen1, kernels1, widen2, kernels2, *small = inputs
        wide = filter_maps(mix(x1, widen1), kernels1), filter_maps(mix(x2, widen2), kernels2)
        return torch.cat((x1, x2), dim=3) + torch.cat(attend_among(*wide, *small), dim=3)

    def make(self, inputs: Tensors, rows: slice) -> _Made:
        wide = [mix(*given) for given in zip(inputs[:2], inputs[2:6:2], strict=True)]
        qkv = [filter_maps(*given) for given in zip(wide, inputs[3:6:2], strict=True)]
        return _Made(None, wide, Attended.of(*qkv, *inputs[6:]))

    def finish(self, inputs: Tensors, rows: slice, made: _Made) -> torch.Tensor:
        return torch.cat(made.attended.results(), dim=3).add_(torch.cat((inputs[0], inputs[1]), dim=3))

    def backward(
        self, inputs: Tensors, rows: slice, made: _Made, slope: torch.Tensor, wanted: Sequence[bool]
    ) -> Slopes:
        sources, widen, kernels, wide = inputs[:2], inputs[2:6:2], inputs[3:6:2], made.wide
        halves = slope.chunk(2, dim=3)
        *of_qkv, of_temperature1, of_temperature2, of_project1, of_project2 = made.attended.backward(halves)
        of_sources, of_convolutions = [], []
        for stream in range(2):
            of_wide, of_kernels = filter_maps_backward(
                of_qkv[stream], wide[stream], kernels[stream], wanted[3 + 2 * stream]
            )
            of_source, of_widen = mix_backward(of_wide, sources[stream], widen[stream], wanted[2 + 2 * stream])
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


def _widened(inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """The maps for q, k and v from a source, its mix and its kernels; and their change."""
    (x, widen, kernels), (dx, dwiden, dkernels) = inputs, changes
    wide = mix(x, widen)
    moved = mix_change(x, widen, dx, dwiden)
    return filter_maps(wide, kernels), filter_maps(moved, kernels).add_(filter_maps(wide, dkernels))
