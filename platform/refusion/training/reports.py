"""Reports of a training: its progress, one report per epoch, and the error where it has diverged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from refusion.metrics import METRICS
from refusion.training.validation import Image

# Key of a worker's report within an epoch: the steps that are done.
WITHIN = "within"


class TrainingDivergedError(Exception):
    """Raised where the parameters are not finite any more; more steps cannot mend that."""


@dataclass(frozen=True)
class Progress:
    """Progress within an epoch.

    Attributes:
        epoch: how many epochs have gone before; −1 for the validation before the first step.
        done: the share of the whole training, 0 to 1.
        seconds_left: None until steps have been measured.
    """

    epoch: int
    phase: str
    step: int
    steps: int
    done: float
    numbers: dict[str, float] = field(default_factory=dict)
    seconds_left: float | None = None


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch: numbers for the record, pictures to look at, and whether it is the best so far.

    Attributes:
        epoch: its number, from 1 on.
        scores: the validation metrics by pair and metric.
    """

    epoch: int
    numbers: dict[str, float]
    validated: bool
    is_best: bool
    pictures: dict[str, Image]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class Losses:
    """Sums of losses, or of other numbers, on the device, so that no step waits for the host."""

    prefix: str = "loss/"
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        for name, loss in losses.items():
            # A captured step leaves its next results in the same memory.
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def plain(self) -> dict[str, list[float]]:
        """Sum and count of each as plain values (waits for the device), from which `restore` goes on."""
        return {name: [float(total), self.counts[name]] for name, total in self.sums.items()}

    def restore(self, plain: Mapping[str, Sequence[float]], device: torch.device) -> None:
        """Go on from what ``plain`` returned."""
        self.sums = {name: torch.tensor(total, device=device) for name, (total, _) in plain.items()}
        self.counts = {name: int(count) for name, (_, count) in plain.items()}

    def means(self) -> dict[str, float]:
        """Mean of each over the steps so far, its name behind the prefix (waits for the device)."""
        return {f"{self.prefix}{name}": float(total) / self.counts[name] for name, total in self.sums.items()}


# How many val pairs an epoch's scores are the mean of, among its numbers.
PAIRS = "validation/pairs"


def own_scores(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Validation metrics among an epoch's or a checkpoint's numbers; empty where it was not validated."""
    return {name: float(numbers[name]) for name in METRICS if name in numbers}
