"""From the files of one scene to the scores of one method's picture of it. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from refusion.errors import UserError
from refusion.evaluation.align import find_window, what_to_crop
from refusion.evaluation.fusing import Fused, fuse_by_baseline, fuse_by_module, grey_levels
from refusion.evaluation.results import REFERENCE
from refusion.evaluation.work_items import Piece
from refusion.images.reading import read_image, write_image
from refusion.metrics import CATALOGUE, evaluate, evaluate_against
from refusion.ops.backend import configure

Plane = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """Its result. ``cropped``: the picture was not of its sources' size and the part that both show was scored."""

    scores: dict[str, float]
    cropped: bool = False


@dataclass(frozen=True)
class Scorer:
    """All that scoring takes besides the piece.

    Attributes:
        metrics: names.
        convention: whose definitions.
        modules: by the name of a method of the kind "checkpoint"; on the CPU.
        saved: folder for the fused pictures, by the name of the method; those that are not named are not saved.
    """

    metrics: tuple[str, ...]
    convention: str
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)

    def score(self, piece: Piece, device: str = "cpu") -> Scored:
        """Read, fuse where that is to be done, save where that is asked for, crop where sizes differ, score.

        Args:
            device: where a trained module works.

        Raises:
            UserError: a file cannot be read or written, or cannot be scored.
        """
        method, picture = piece.method, piece.picture
        a, b = (read_image(Path(file)) for file in (picture.pair.a, picture.pair.b))
        fused = self._fused(piece, a, b, device)
        if method.name in self.saved and fused.picture is not None:
            target = Path(self.saved[method.name]) / f"{picture.pair.name}.png"
            write_image(target, fused.picture)
        truth = None if picture.reference is None else grey_levels(read_image(Path(picture.reference)))
        try:
            return score_planes(fused.luminance, grey_levels(a), grey_levels(b), truth, self.metrics, self.convention)
        except UserError as error:
            raise UserError(f"{picture.fused.get(method.name, picture.pair.a)}: {error}") from error

    def _fused(self, piece: Piece, a: NDArray[np.float32], b: NDArray[np.float32], device: str) -> Fused:
        method = piece.method
        if method.kind == "checkpoint":
            configure(device)
            return fuse_by_module(self.modules[method.name].to(device), a, b)
        if method.kind == "baseline":
            return fuse_by_baseline(method.value, a, b)
        return Fused(grey_levels(read_image(Path(piece.picture.fused[method.name]))))


def score_planes(
    fused: Plane, a: Plane, b: Plane, truth: Plane | None, metrics: Sequence[str], convention: str
) -> Scored:
    """Score luminance against luminance, all (H, W) on 0–255; where ``fused`` differs in size, the part in common.

    Args:
        truth: the true image, of the sources' size; the metrics that have a meaning against it are also given as
            ``ref_NAME``.

    Raises:
        UserError: the sizes differ by more than cropping mends, or a metric cannot be computed.
    """
    size, of_sources = fused.shape[:2], a.shape[:2]
    cropped = what_to_crop(size, of_sources)
    if cropped is None:
        raise UserError(f"{size[1]}×{size[0]} pixels do not fit sources of {of_sources[1]}×{of_sources[0]}")
    if cropped != "nothing":
        window = find_window(*(plane.astype(np.float32) for plane in (fused, a, b)))
        if cropped == "fused":
            fused = window.cut(fused)
        else:
            a, b = window.cut(a), window.cut(b)
            truth = None if truth is None else window.cut(truth)
    fed, first, second = (torch.from_numpy(np.ascontiguousarray(plane)) for plane in (fused, a, b))
    scores = {name: float(value[0]) for name, value in evaluate(fed, first, second, metrics, convention).items()}
    if truth is not None:
        true = torch.from_numpy(np.ascontiguousarray(truth))
        against = evaluate_against(fed, true, full_reference(metrics), convention)
        scores |= {REFERENCE + name: float(value[0]) for name, value in against.items()}
    return Scored(scores, cropped != "nothing")


def full_reference(metrics: Iterable[str]) -> list[str]:
    """Those of the metrics that have a meaning against one true image."""
    return [name for name in metrics if CATALOGUE[name].full_reference]
