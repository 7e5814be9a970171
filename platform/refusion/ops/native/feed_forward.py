"""The gated feed-forward part by compiled code, row by row; it keeps nothing for its backward passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from refusion.ops.native.depthwise import Filtered
from refusion.ops.parts_by_rows import PartByRows, Slopes, Tensors


class FeedForwardByRows(PartByRows[None]):
    """`feed_forward.FeedForward` of the same inputs."""

    def serves(self, inputs: Tensors) -> bool:
        return Filtered.gated(inputs).is_compiled()

    def make(self, inputs: Tensors) -> None:
        return None

    def finish(self, inputs: Tensors, made: None) -> torch.Tensor:
        return Filtered.gated(inputs).result()

    def backward(self, inputs: Tensors, made: None, slope: torch.Tensor, wanted: Sequence[bool]) -> Slopes:
        return Filtered.gated(inputs).slopes(slope, any(wanted[1:]))

    def change(self, inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        return Filtered.gated(inputs).change(Filtered.gated(changes))

    def vjp_of_jvp(
        self, inputs: Tensors, changes: Tensors, slopes: Tensors, wanted: Sequence[bool]
    ) -> tuple[Slopes, Slopes]:
        of_out, of_change_of_out = slopes
        found, of_change = Filtered.gated(inputs).slopes_through_change(
            Filtered.gated(changes), of_out, of_change_of_out, any(wanted[1:])
        )
        return found, [of_change]
