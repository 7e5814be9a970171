"""One worker's shard of each global batch, read ahead by one batch in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from refusion.images.device_store import DevicePlanes
from refusion.images.noise import noise_field
from refusion.images.store import PairStore
from refusion.runtime.distributed import Shard

T = TypeVar("T")

_STEPS_AT_ONCE = 256


@dataclass(frozen=True)
class Drawn:
    """Parts of a batch as they were drawn on the host: crops of both kinds, or where in the device's memory they are.

    Attributes:
        images: (parts·B, 2, H, W) crops, or (parts·B, 3) windows of `device_store.DevicePlanes`.
        noise: (parts·B, 1, H, W) or windows; None where the channel has no noise.
        parts: K + 1 of a meta-iteration, of which the last is meta-test; 1 of a fusion update.
    """

    images: Tensor
    noise: Tensor | None
    parts: int


@dataclass(frozen=True)
class Batches:
    """Meta-train, meta-test and fusion batches of one epoch as functions of the step alone.

    Which crop of which pair stands at which position depends on (seed, task, phase, step, position in the global
    batch), so any number of workers and any restart sees the same data; so does the noise of R's channel. The epoch
    (0-based) decides only the size of the crops and of the subset of pairs.
    """

    store: PairStore
    settings: Settings
    task: str
    shard: Shard
    device: torch.device
    epoch: int = 0
    on_device: DevicePlanes | None = None
    """The store's pairs where the device holds them, else each batch is copied there."""

    @cached_property
    def indices(self) -> list[int]:
        """Indices of the store's pairs that this epoch trains on."""
        subset = self.settings.images.subset
        return evenly_spaced(len(self.store), None if subset is None else at(subset, self.epoch))

    @cached_property
    def _noise(self) -> DevicePlanes:
        field = noise_field(self.settings.seed, self.task)
        return DevicePlanes([[self.settings.objective.channel_noise * field]], self.device)

    @property
    def crop(self) -> int:
        """Side of this epoch's crops, pixels."""
        return at(self.settings.images.crop, self.epoch)

    def draw(self, phase: Phase, step: int, parts: int = 1) -> Drawn:
        """Draws the batch of a step on the host: what may be done ahead, in another thread."""
        drawn = self._drawn(phase, step, parts)
        noise = None if drawn.noise is None else self._pinned(drawn.noise)
        return Drawn(self._pinned(drawn.images), noise, parts)

    def _drawn(self, phase: Phase, step: int, parts: int) -> Drawn:
        batch = self.settings.images.batch
        positions = [part * batch + position for part in range(parts) for position in self.shard.of(batch)]
        seed = self.settings.seed
        mine = self._plans(phase, step, positions)
        if self.on_device is None:
            images = torch.from_numpy(self.store.batch(mine, self.crop))
        else:
            images = self.on_device.windows(mine, self.crop)
        if self.settings.objective.channel_noise == 0:
            return Drawn(images, None, parts)
        noise = self._noise.windows(plan_noise(seed, self.task, phase, step, positions), self.crop)
        return Drawn(images, noise, parts)

    def _plans(self, phase: Phase, step: int, positions: Sequence[int]) -> list[CropPlan]:
        seed, batch, count = self.settings.seed, self.settings.images.batch, len(self.indices)
        if phase == "meta":
            plans = plan_meta(seed, self.task, step, positions, count)
        else:
            plans = plan_fusion(seed, self.task, step, positions, batch, count)
        return [replace(plan, index=self.indices[plan.index]) for plan in plans]

    def pictures(self, phase: Phase, step: int, parts: int) -> list[str]:
        """Returns the names of the pairs of a step's global batch, each once."""
        plans = self._plans(phase, step, range(parts * self.settings.images.batch))
        return list(dict.fromkeys(self.store.pairs[plan.index].name for plan in plans))

    def ready(self, drawn: Drawn) -> tuple[Tensor, Tensor | None]:
        """Returns images (parts, B, 2, H, W) in [0, 1] and the channel's noise (parts, B, 1, H, W), on the device.

        B is this worker's shard. The parts are disjoint where the subset has at least parts·B pairs in the whole.
        """
        return self.cut(drawn.images, drawn.noise, drawn.parts)

    def cut(self, images: Tensor, noise: Tensor | None, parts: int) -> tuple[Tensor, Tensor | None]:
        """Returns the same of what `draw` has put into ``images`` and ``noise``; a graph may hold it."""
        images = images.to(self.device, non_blocking=True)
        if self.on_device is not None:
            images = self.on_device.cut(images, self.crop)
        images = images.view(parts, -1, *images.shape[1:])
        if noise is None:
            return images, None
        noise = self._noise.cut(noise.to(self.device, non_blocking=True), self.crop)
        return images, noise.view(parts, -1, *noise.shape[1:])

    def ahead(self, phase: Phase, steps: range, parts: int = 1, waits: Waits | None = None) -> Iterator[Drawn]:
        """Yields what `draw` gives for each step, drawn ahead in a thread.

        Where the device holds the pairs, the windows of many steps go there at once.
        """
        if self.on_device is None:
            yield from read_ahead(lambda step: self.draw(phase, step, parts), steps, waits)
            return
        firsts = range(steps.start, steps.stop, _STEPS_AT_ONCE)
        ends = {first: min(first + _STEPS_AT_ONCE, steps.stop) for first in firsts}
        for many in read_ahead(lambda first: self._draw_many(phase, range(first, ends[first]), parts), firsts, waits):
            images, noise = (None if all_ is None else all_.to(self.device, non_blocking=True) for all_ in many)
            assert images is not None
            for index in range(len(images)):
                yield Drawn(images[index], None if noise is None else noise[index], parts)

    def _draw_many(self, phase: Phase, steps: range, parts: int) -> tuple[Tensor, Tensor | None]:
        """Windows of several steps, (steps, parts·B, 3) each."""
        drawn = [self._drawn(phase, step, parts) for step in steps]
        noise = [one.noise for one in drawn if one.noise is not None]
        images = self._pinned(torch.stack([one.images for one in drawn]))
        return images, self._pinned(torch.stack(noise)) if noise else None

    def meta(self, step: int, inner_steps: int) -> tuple[Tensor, Tensor]:
        """Returns meta-train (K, B, 2, H, W) and meta-test (B, 2, H, W) batches of a meta-iteration."""
        images, _ = self.ready(self.draw("meta", step, inner_steps + 1))
        return images[:-1], images[-1]

    def fusion(self, step: int) -> Tensor:
        """Returns the batch (B, 2, H, W) of a fusion update; every pair of the subset comes before any comes again."""
        return self.ready(self.draw("fusion", step))[0][0]

    def _pinned(self, tensor: Tensor) -> Tensor:
        # From memory that is not pinned, the copy would first wait for all that the GPU still has to do.
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


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
