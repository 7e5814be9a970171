"""Fuse the full-size images of the val split, measure them, and keep a few as pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from refusion.fuse import as_picture, fuse_sources
from refusion.images.colour import luminance, restore_colour, saved_luminance
from refusion.images.dataset import evenly_spaced
from refusion.images.store import PairStore
from refusion.metrics import evaluate
from refusion.runtime.distributed import Shard, gather_on_all
from refusion.tracking.views.pictures import SHEET
from refusion.training.pictures.contact_sheet import SheetRow, contact_sheet, sheet_row
from refusion.training.pictures.weight_maps import proposed_weights, weight_maps

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]


@dataclass
class Measured:
    """Metrics by pair and metric, pictures by ``kind/pair`` (kind: fused, weights or sheet), and the sheet's rows."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    pictures: dict[str, Image] = field(default_factory=dict)
    rows: dict[str, SheetRow] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Mean of each metric over the pairs; a pair whose value is no number makes the mean none either."""
        names = list(next(iter(self.scores.values()), {}))
        count = max(len(self.scores), 1)
        return {name: math.fsum(scores[name] for scores in self.scores.values()) / count for name in names}


@torch.no_grad()
def validate(
    fusion: nn.Module,
    loss_proposal: nn.Module,
    store: PairStore,
    indices: list[int],
    *,
    shard: Shard,
    pictures: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    sheet: str = "validation",
) -> Measured:
    """Scores and pictures of the fused pairs, computed by all workers together and returned to each.

    Each image is fused at full size and scored as the picture that would be saved: stretched from its minimum and
    maximum to 0–255, with its colour, rounded.

    Args:
        fusion: makes the fused image.
        loss_proposal: its weights become the maps.
        store: the val pairs.
        indices: which of them.
        shard: this worker's rank and the number of workers.
        pictures: of how many pairs, evenly spread, pictures are kept.
        device: where the modules are.
        progress: called with (done, of this worker's).
        sheet: name of the sheet of the kept pictures.
    """
    mine = Measured()
    positions = range(shard.rank, len(indices), shard.world)
    kept = set(evenly_spaced(len(indices), pictures))
    dtype = next((parameter.dtype for parameter in fusion.parameters()), torch.float32)
    pairs = _sources(store, [indices[position] for position in positions])
    for done, (position, (name, a, b, sources)) in enumerate(zip(positions, pairs, strict=True), start=1):
        fed = torch.from_numpy(sources)[None].to(device, dtype)
        picture = as_picture(fuse_sources(fusion, fed)[0, 0].cpu().numpy(), a, b)
        mine.scores[name] = measure(picture, sources)
        if position in kept:
            mine.pictures[f"fused/{name}"] = picture
            weights = proposed_weights(loss_proposal, fed)
            mine.pictures[f"weights/{name}"] = weight_maps(weights)
            mine.rows[name] = sheet_row(a, b, picture, weights)
        if progress is not None:
            progress(done, len(positions))
    whole = _in_order(store, indices, gather_on_all(mine))
    if whole.rows:
        whole.pictures[f"{SHEET}/{sheet}"] = contact_sheet(whole.rows)
    return whole


def average_baseline(store: PairStore, indices: list[int], shard: Shard) -> Measured:
    """Scores of the plain average of the two sources, the least that a fusion must beat."""
    mine = Measured()
    for name, a, b, sources in _sources(store, indices[shard.rank :: shard.world]):
        mine.scores[name] = measure(restore_colour(sources.mean(axis=0) * np.float32(255), a, b), sources)
    return _in_order(store, indices, gather_on_all(mine))


def _sources(store: PairStore, indices: list[int]) -> Iterator[tuple[str, Plane, Plane, Plane]]:
    """Yields each pair's name, its two sources as read, and their luminance (2, H, W)."""
    for index in indices:
        a, b = store.originals(index)
        yield store.pairs[index].name, a, b, np.stack([luminance(a), luminance(b)])


def measure(picture: Image, sources: npt.NDArray[np.float32]) -> dict[str, float]:
    """Computes all metrics of one fused picture as it is saved, against its sources' luminance.

    Args:
        picture: uint8, (H, W) or (H, W, 3).
        sources: (2, H, W) in [0, 1].
    """
    a, b = (torch.from_numpy(source) * 255.0 for source in sources)
    fused = torch.from_numpy(saved_luminance(picture))
    return {name: float(value[0]) for name, value in evaluate(fused, a, b).items()}


def _in_order(store: PairStore, indices: list[int], parts: list[Measured]) -> Measured:
    """Joins the workers' parts in the order of the pairs, so that sums do not depend on the number of workers."""
    whole = Measured()
    for name in (store.pairs[index].name for index in indices):
        for part in parts:
            if name in part.scores:
                whole.scores[name] = part.scores[name]
            if name in part.rows:
                whole.rows[name] = part.rows[name]
    for part in parts:
        whole.pictures.update(part.pictures)
    return whole
