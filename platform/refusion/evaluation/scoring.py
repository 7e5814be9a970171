"""The scores of one method on one scene: read, fuse, save, align, score; no Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from refusion import baselines
from refusion.adapt import Adaptation
from refusion.config.precision import InferencePrecision
from refusion.errors import UserError
from refusion.evaluation.align import find_window, what_to_crop
from refusion.evaluation.results import REFERENCE
from refusion.evaluation.work_items import WorkItem
from refusion.fuse import fuse_pair
from refusion.images.colour import luminance, restore_colour, saved_luminance
from refusion.images.store import read_beside, read_pair
from refusion.images.writing import write_image
from refusion.metrics import CATALOGUE, evaluate, evaluate_against
from refusion.ops.backend import configure

Plane = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class FusedImage:
    """The fused image that one method made of one pair.

    Attributes:
        luminance: (H, W), grey levels 0–255, the input of the metrics: that of the picture as it is saved.
        picture: (H, W) or (H, W, 3) uint8 with its colour, as it would be saved; None where the file exists already.
    """

    luminance: NDArray[np.uint8] | NDArray[np.float32]
    picture: NDArray[np.uint8] | None = None


def fuse_by_module(module: nn.Module, a: NDArray[np.float32], b: NDArray[np.float32]) -> FusedImage:
    """Fuses a pair in one forward pass at full size, on the module's device.

    Args:
        module: the trained fusion module.
        a, b: (H, W) grey or (H, W, 3) RGB, 0–255, of one size.
    """
    picture = fuse_pair(module, a, b)
    return FusedImage(saved_luminance(picture), picture)


def fuse_by_baseline(name: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> FusedImage:
    """Fuses a pair by a classical method, clipped and never stretched; ``a`` and ``b`` as for ``fuse_by_module``."""
    fused = baselines.fuse_luminance(name, luminance(a), luminance(b))
    picture = restore_colour(fused * np.float32(255), a, b)
    return FusedImage(saved_luminance(picture), picture)


def grey_levels(image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the luminance of (H, W) grey or (H, W, 3) RGB, in grey levels on 0–255, as metrics take it."""
    return luminance(image) * np.float32(255)


@dataclass(frozen=True)
class ItemScores:
    """The scores of one work item; ``cropped`` where only the part was scored that image and sources have in common."""

    scores: dict[str, float]
    cropped: bool = False


@dataclass(frozen=True)
class Scorer:
    """The settings that scoring needs besides the work item.

    Attributes:
        metrics: names.
        convention: the convention whose definitions apply.
        modules: by the name of a method of the kind "checkpoint"; on the CPU.
        adaptations: by the name of a method whose module is adapted to each pair before it fuses it.
        save_folders: folder for the fused images, by the name of the method; methods without one are not saved.
        precision: of trained modules: "float32", or "tf32" of a GPU.
    """

    metrics: tuple[str, ...]
    convention: str
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    save_folders: Mapping[str, str] = field(default_factory=dict)
    adaptations: Mapping[str, Adaptation] = field(default_factory=dict)
    precision: InferencePrecision = "float32"

    def score(self, item: WorkItem, device: str = "cpu") -> ItemScores:
        """Reads, fuses where that is to be done, saves where that is asked for, crops where sizes differ, and scores.

        Args:
            item: the method and the scene.
            device: of a trained module, "cpu" or "cuda".

        Raises:
            UserError: a file cannot be read or written, or cannot be scored.
        """
        method, scene = item.method, item.scene
        a, b = read_pair(scene.pair)
        fused = self._fused(item, a, b, device)
        if method.name in self.save_folders and fused.picture is not None:
            target = Path(self.save_folders[method.name]) / f"{scene.pair.name}.png"
            write_image(target, fused.picture)
        truth = None if scene.reference is None else grey_levels(read_beside(Path(scene.reference), scene.pair))
        try:
            return score_planes(fused.luminance, grey_levels(a), grey_levels(b), truth, self.metrics, self.convention)
        except UserError as error:
            raise UserError(f"{scene.fused.get(method.name, scene.pair.a)}: {error}") from error

    def _fused(self, item: WorkItem, a: NDArray[np.float32], b: NDArray[np.float32], device: str) -> FusedImage:
        method = item.method
        if method.kind == "checkpoint":
            configure(device, precision=self.precision)
            module = self.modules[method.name].to(device)
            if method.name in self.adaptations:
                module = self.adaptations[method.name].to_pairs(module, [item.scene.pair])
            try:
                return fuse_by_module(module, a, b)
            except UserError as error:
                raise UserError(f"{method.value}: {item.scene.pair.a}: {error}") from error
        if method.kind == "baseline":
            return fuse_by_baseline(method.value, a, b)
        return FusedImage(grey_levels(read_beside(Path(item.scene.fused[method.name]), item.scene.pair)))


def score_planes(
    fused: Plane, a: Plane, b: Plane, truth: Plane | None, metrics: Sequence[str], convention: str
) -> ItemScores:
    """Scores luminance against luminance, all (H, W) on 0–255; where ``fused`` differs in size, the part in common.

    Args:
        fused, a, b: the images.
        truth: the true image, of the sources' size; the metrics that have a meaning against it are also returned as
            ``ref_NAME``.
        metrics: names.
        convention: a key of ``CONVENTIONS``.

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
            fused = window.crop(fused)
        else:
            a, b = window.crop(a), window.crop(b)
            truth = None if truth is None else window.crop(truth)
    scored, first, second = (torch.from_numpy(np.ascontiguousarray(plane)) for plane in (fused, a, b))
    scores = {name: float(value[0]) for name, value in evaluate(scored, first, second, metrics, convention).items()}
    if truth is not None:
        true = torch.from_numpy(np.ascontiguousarray(truth))
        against = evaluate_against(scored, true, full_reference(metrics), convention)
        scores |= {REFERENCE + name: float(value[0]) for name, value in against.items()}
    return ItemScores(scores, cropped != "nothing")


def full_reference(metrics: Iterable[str]) -> list[str]:
    """Returns the names of the metrics that have a meaning against one true image."""
    return [name for name in metrics if CATALOGUE[name].full_reference]
