"""One worker's shard of each global batch, read ahead by one batch in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from refusion.config.per_epoch import at
from refusion.config.settings import Settings
from refusion.images.crops import CropPlan, Phase, plan_fusion, plan_meta, plan_noise
from refusion.images.dataset import evenly_spaced
from refusion.images.store import PairStore
from refusion.runtime.distributed import Shard

T = TypeVar("T")


@dataclass(frozen=True)
class Batches:
    """Meta-train, meta-test and fusion batches of one epoch as functions of the step alone.

    Which crop of which pair stands at which position depends on (seed, task, phase, step, position in the global
    batch), so any number of workers and any restart sees the same data. The epoch (0-based) decides only the size of
    the crops and of the subset of pairs.
    """

    store: PairStore
    settings: Settings
    task: str
    shard: Shard
    device: torch.device
    epoch: int = 0

    @cached_property
    def indices(self) -> list[int]:
        """Indices of the store's pairs that this epoch trains on."""
        subset = self.settings.images.subset
        return evenly_spaced(len(self.store), None if subset is None else at(subset, self.epoch))

    def meta(self, step: int, inner_steps: int) -> tuple[Tensor, Tensor]:
        """Meta-train (K, B, 2, H, W) and meta-test (B, 2, H, W) batches of a meta-iteration: K + 1 disjoint batches.

        B is this worker's shard. The batches are disjoint where the subset has at least (K + 1)·B pairs in the whole.
        """
        batch = self.settings.images.batch
        mine = self.shard.of(batch)
        positions = [part * batch + position for part in range(inner_steps + 1) for position in mine]
        plans = plan_meta(self.settings.seed, self.task, step, positions, len(self.indices))
        images = self._images(plans)
        images = self._on_device(images.view(inner_steps + 1, len(mine), *images.shape[1:]))
        return images[:-1], images[-1]

    def fusion(self, step: int) -> Tensor:
        """Batch (B, 2, H, W) of a fusion update; steps pass over the whole subset before any pair comes again."""
        batch = self.settings.images.batch
        mine = self.shard.of(batch)
        plans = plan_fusion(self.settings.seed, self.task, step, mine, batch, len(self.indices))
        return self._on_device(self._images(plans))

    def noise(self, phase: Phase, step: int, parts: int = 1) -> Tensor | None:
        """Noise of R's channel for the images of a step, (parts, B, 1, H, W) of the set deviation; None where it is 0.

        ``parts`` is K + 1 for a meta-iteration, whose last part is the meta-test batch.
        """
        deviation = self.settings.objective.channel_noise
        if deviation == 0:
            return None
        batch, crop = self.settings.images.batch, at(self.settings.images.crop, self.epoch)
        mine = self.shard.of(batch)
        positions = [part * batch + position for part in range(parts) for position in mine]
        drawn = torch.from_numpy(plan_noise(self.settings.seed, self.task, phase, step, positions, crop))
        return self._on_device(drawn.mul_(deviation).view(parts, len(mine), *drawn.shape[1:]))

    def _images(self, plans: list[CropPlan]) -> Tensor:
        crop = at(self.settings.images.crop, self.epoch)
        mine = [replace(plan, index=self.indices[plan.index]) for plan in plans]
        return torch.from_numpy(self.store.batch(mine, crop))

    def _on_device(self, images: Tensor) -> Tensor:
        # From memory that is not pinned, the copy would first wait for all that the GPU still has to do.
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)


@dataclass
class Waits:
    """Seconds that the training has waited for its next batch."""

    seconds: float = 0.0


def read_ahead(make: Callable[[int], T], steps: range, waits: Waits | None = None) -> Iterator[T]:
    """``make(step)`` for each step, the next one being made while the present one is used.

    One is enough: a batch from memory takes a few milliseconds, a step far longer. Where files are read more slowly
    than steps use them, the waits show it, and reading further ahead would be no faster.

    Args:
        make: called in a thread of its own, one call at a time.
        steps: what it is called with.
        waits: to which the waiting is added.
    """
    if not steps:
        return
    waits = Waits() if waits is None else waits
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming: Future[T] = pool.submit(make, steps[0])
        for position in range(len(steps)):
            begun = time.perf_counter()
            ready = coming.result()
            waits.seconds += time.perf_counter() - begun
            if position + 1 < len(steps):
                coming = pool.submit(make, steps[position + 1])
            yield ready
