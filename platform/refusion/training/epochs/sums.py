"""Sums over one epoch's steps: losses, signals, time; saved within the epoch, so that a restart goes on with them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from refusion.runtime.distributed import gather_on_all
from refusion.training.batches import Waits
from refusion.training.epochs.skipped import SkippedSteps
from refusion.training.reports import Losses
from refusion.training.signals import EpochSignals


@dataclass
class EpochSums:
    """Numbers of an epoch so far; the steps' own are on the device."""

    signals: EpochSignals
    device: torch.device
    losses: Losses = field(default_factory=Losses)
    waits: Waits = field(default_factory=Waits)
    skipped: SkippedSteps = field(default_factory=SkippedSteps)
    _begun: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds of training since the epoch began, without those between a stop and a restart."""
        return time.perf_counter() - self._begun

    def numbers(self) -> dict[str, float]:
        """Means over the steps and over all workers, and the seconds of waiting for images, a part of the training's.

        Every worker must call it.
        """
        local = self.losses.means() | self.signals.sums.means() | {"time/data_seconds": self.waits.seconds}
        parts = gather_on_all(local)
        return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}

    def plain(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint, means over all workers; every worker must call it."""
        mine = {"losses": self.losses.plain(), "signals": self.signals.sums.plain()}
        parts = gather_on_all(mine)
        means: dict[str, Any] = {
            kind: {
                name: [sum(part[kind][name][0] for part in parts) / len(parts), count]
                for name, (_, count) in own.items()
            }
            for kind, own in mine.items()
        }
        means["skipped"] = self.skipped.plain()
        previous = self.signals.previous
        return means | {
            "previous_meta_gradient": None if previous is None else previous.cpu(),
            "seconds": self.seconds,
            "data_seconds": self.waits.seconds,
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Goes on from what ``plain`` returned; from nothing where it is empty, at an epoch's beginning."""
        if not plain:
            return
        self.losses.restore(plain["losses"], self.device)
        self.signals.sums.restore(plain["signals"], self.device)
        self.skipped.restore(plain.get("skipped", {}), self.device)
        previous = plain["previous_meta_gradient"]
        self.signals.previous = None if previous is None else previous.to(self.device)
        self.waits.seconds = plain["data_seconds"]
        self._begun -= plain["seconds"]
