"""Work items of an evaluation, as paths: small enough to be sent to every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from refusion.evaluation.methods import Method
from refusion.images.pairs import Pair


@dataclass(frozen=True)
class Scene:
    """The files of one scene; paths are absolute.

    Attributes:
        pair: its sources.
        fused: file by the name of the method that fused it.
        reference: the true image, where there is one.
    """

    pair: Pair
    fused: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None

    def files(self) -> list[str]:
        """Returns every file that is read."""
        return [self.pair.a, self.pair.b, *self.fused.values(), *([self.reference] if self.reference else [])]


@dataclass(frozen=True)
class WorkItem:
    """One unit of work: one method on one scene."""

    method: Method
    scene: Scene
