"""What there is to score, as paths: light enough to be sent to every worker, and to be imported there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from refusion.evaluation.methods import Method
from refusion.images.pairs import Pair


@dataclass(frozen=True)
class Picture:
    """All that is known of one scene before it is scored. Paths are absolute.

    Attributes:
        pair: its sources.
        fused: file by the name of the method that it came from.
        reference: the true image, where there is one.
    """

    pair: Pair
    fused: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None

    def files(self) -> list[str]:
        """Every file that is read."""
        return [self.pair.a, self.pair.b, *self.fused.values(), *([self.reference] if self.reference else [])]


@dataclass(frozen=True)
class Piece:
    """The work of one step: one method's picture of one scene."""

    method: Method
    picture: Picture
