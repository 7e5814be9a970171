"""Attention with its residual: the maps for q, k and v by compiled code, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.networks.attending import Attended, attend_among, attention_change
from refusion.networks.by_rows import Filtered
from refusion.networks.forward_mode import with_change
from refusion.networks.parts_by_rows import PartByRows, Slopes, Tensors


class _Streams(NamedTuple):
    """Each stream's maps, what they are filtered from, and the small parameters of all."""

    sources: list[Filtered]
    small: list[torch.Tensor]

    def apart(self, of_sources: Sequence[Slopes], of_small: Slopes) -> list[torch.Tensor | None]:
        """Slopes as the inputs were given: maps, then the other inputs of each stream, then the small ones."""
        rest = [slope for of_one in of_sources for slope in of_one[1:]]
        return [*(of_one[0] for of_one in of_sources), *rest, *of_small]


class AttentionByRows(PartByRows[Attended]):
    """`attention_parts.SelfAttention` (of one stream) or `CrossAttention` (of two) of the same inputs."""

    def __init__(self, streams: int) -> None:
        self.maps = streams

    def serves(self, inputs: Tensors) -> bool:
        return all(source.is_compiled() for source in self._streams(inputs).sources)

    def make(self, inputs: Tensors) -> Attended:
        sources, small = self._streams(inputs)
        return Attended.of(*(source.result() for source in sources), *small)

    def finish(self, inputs: Tensors, made: Attended) -> torch.Tensor:
        return _beside(made.results()).add_(_beside(inputs[: self.maps]))

    def backward(self, inputs: Tensors, made: Attended, slope: torch.Tensor, wanted: Sequence[bool]) -> Slopes:
        streams = self._streams(inputs)
        slopes = slope.chunk(self.maps, dim=3)
        found = made.backward(slopes)
        of_sources = [
            _with_residual(source.slopes(of_qkv, any(wanted[self.maps :])), own)
            for source, of_qkv, own in zip(streams.sources, found, slopes, strict=False)
        ]
        return streams.apart(of_sources, found[self.maps :])

    def change(self, inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        (qkv, small), (moved, dsmall) = self._moved(inputs, changes)
        results, moves = zip(*attention_change([*qkv, *small], [*moved, *dsmall]), strict=True)
        out, change = _beside(results), _beside(moves)
        return out.add_(_beside(inputs[: self.maps])), change.add_(_beside(changes[: self.maps]))

    def backward_through_change(
        self, inputs: Tensors, changes: Tensors, slopes: Tensors, wanted: Sequence[bool]
    ) -> tuple[Slopes, Slopes]:
        streams, moving = self._streams(inputs), self._streams(changes)
        (qkv, small), (moved, dsmall) = self._moved(inputs, changes)
        count = self.maps
        with torch.enable_grad():
            values = [tensor.detach().requires_grad_() for tensor in (*qkv, *small)]
            turns = [tensor.detach().requires_grad_() for tensor in moved]
            made = with_change(lambda *given: _beside(attend_among(*given)), values, [*turns, *dsmall])
            found = torch.autograd.grad(made, values + turns, list(slopes))
        of_sources, of_changes = [], []
        for stream in range(count):
            own = [slope.chunk(count, dim=3)[stream] for slope in slopes]
            of_source, of_change = streams.sources[stream].slopes_through_change(
                moving.sources[stream], found[stream], found[len(values) + stream], any(wanted[count:])
            )
            of_sources.append(_with_residual(of_source, own[0]))
            of_changes.append(of_change.add_(own[1]))
        return streams.apart(of_sources, found[count : len(values)]), of_changes

    def _streams(self, inputs: Tensors) -> _Streams:
        if self.maps == 1:
            return _Streams([Filtered.plain(inputs[:5])], list(inputs[5:]))
        x1, x2, widen1, kernels1, widen2, kernels2, *small = inputs
        return _Streams([Filtered.plain([x1, widen1, kernels1]), Filtered.plain([x2, widen2, kernels2])], small)

    def _moved(
        self, inputs: Tensors, changes: Tensors
    ) -> tuple[tuple[list[torch.Tensor], list[torch.Tensor]], tuple[list[torch.Tensor], list[torch.Tensor]]]:
        """q, k and v of each stream with the small parameters, and the changes of both."""
        streams, moving = self._streams(inputs), self._streams(changes)
        maps = [source.change(change) for source, change in zip(streams.sources, moving.sources, strict=True)]
        return ([out for out, _ in maps], streams.small), ([change for _, change in maps], moving.small)


def _beside(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """A new tensor unless there is one alone."""
    return maps[0] if len(maps) == 1 else torch.cat(list(maps), dim=3)


def _with_residual(slopes: list[torch.Tensor | None], slope: torch.Tensor) -> list[torch.Tensor | None]:
    of_x = slopes[0]
    assert of_x is not None
    return [of_x.add_(slope), *slopes[1:]]
