"""Attention with its residual by compiled code: the maps for q, k and v row by row, then what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from refusion.ops.native.attending_by_rows import Attending, change_of, result_and_change
from refusion.ops.native.depthwise import Filtered
from refusion.ops.parts_by_rows import PartByRows, Slopes, Tensors


class AttentionByRows(PartByRows[Attending]):
    """`attention_parts.SelfAttention` (of one stream) or `CrossAttention` (of two) of the same inputs."""

    def __init__(self, streams: int) -> None:
        self.maps = streams

    def serves(self, inputs: Tensors) -> bool:
        return all(source.is_compiled() for source in self._sources(inputs))

    def make(self, inputs: Tensors) -> Attending:
        return Attending.of([source.result() for source in self._sources(inputs)], self._parameters(inputs))

    def finish(self, inputs: Tensors, made: Attending) -> torch.Tensor:
        return made.result(inputs[: self.maps])

    def backward(self, inputs: Tensors, made: Attending, slope: torch.Tensor, wanted: Sequence[bool]) -> Slopes:
        of_maps, of_parameters = made.slopes(slope)
        of_sources = [
            source.slopes(of_one, any(wanted[self.maps :]))
            for source, of_one in zip(self._sources(inputs), of_maps, strict=True)
        ]
        return self._in_order(of_sources, slope, of_parameters)

    def change(self, inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        here, there = self._moving(inputs, changes)
        return result_and_change(here, there, inputs[: self.maps], changes[: self.maps])

    def vjp_of_jvp(
        self, inputs: Tensors, changes: Tensors, slopes: Tensors, wanted: Sequence[bool]
    ) -> tuple[Slopes, Slopes]:
        here, there = self._moving(inputs, changes)
        of_maps, of_moved, of_parameters = here.slopes_through_change(there, *slopes)
        found = [
            source.slopes_through_change(change, of_one, of_change, any(wanted[self.maps :]))
            for source, change, of_one, of_change in zip(
                self._sources(inputs), self._sources(changes), of_maps, of_moved, strict=True
            )
        ]
        of_changes = [of_change for _, of_change in found]
        for of_change, own in zip(of_changes, slopes[1].chunk(self.maps, dim=3), strict=True):
            of_change.add_(own)
        return self._in_order([of_source for of_source, _ in found], slopes[0], of_parameters), of_changes

    def _sources(self, inputs: Tensors) -> list[Filtered]:
        """What the maps of each stream are filtered from."""
        if self.maps == 1:
            return [Filtered.plain(inputs[:5])]
        x1, x2, widen1, kernels1, widen2, kernels2, *_ = inputs
        return [Filtered.plain([x1, widen1, kernels1]), Filtered.plain([x2, widen2, kernels2])]

    def _parameters(self, inputs: Tensors) -> Tensors:
        """Temperatures, then projections."""
        return inputs[-2 * self.maps :]

    def _moving(self, inputs: Tensors, changes: Tensors) -> tuple[Attending, Attending]:
        maps, moved = zip(
            *(
                source.change(change)
                for source, change in zip(self._sources(inputs), self._sources(changes), strict=True)
            ),
            strict=True,
        )
        here = Attending.of(maps, self._parameters(inputs))
        return here, change_of(here, moved, self._parameters(changes))

    def _in_order(self, of_sources: Sequence[Slopes], slope: torch.Tensor, of_parameters: Tensors) -> Slopes:
        """Slopes as the inputs are given: maps, with the residual's, then each stream's parameters, then the small."""
        of_x = []
        for (of_one, *_), own in zip(of_sources, slope.chunk(self.maps, dim=3), strict=True):
            assert of_one is not None
            of_x.append(of_one.add_(own))
        return [*of_x, *(of_one for of_source in of_sources for of_one in of_source[1:]), *of_parameters]
