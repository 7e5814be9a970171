"""Reports of a training: its progress, one report per epoch, and the error where it has diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from refusion.metrics import METRICS
from refusion.training.validation import Image

# Key of a worker's report within an epoch: the steps that are done.
WITHIN = "within"


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
        scores: by method (trained, or the average of the sources), pair and metric; empty where it was not validated.
    """

    epoch: int
    numbers: dict[str, float]
    validated: bool
    is_best: bool
    pictures: dict[str, Image]
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


@dataclass
class Losses:
    """Means of losses, or of other numbers, over steps; summed on the device, so that no step waits for the host.

    A value that is not finite, as of a step that was left out, is left out too.
    """

    prefix: str = "loss/"
    # By the names that come together: sums of the finite values and how many there are, (2, names).
    _sums: dict[tuple[str, ...], torch.Tensor] = field(default_factory=dict)

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        names, values = tuple(losses), torch.stack(list(losses.values()))
        finite = torch.isfinite(values)
        new = torch.stack([torch.where(finite, values, 0.0), finite.to(values.dtype)])
        if names not in self._sums:
            self._sums[names] = self._restored(names, new)
        self._sums[names] = self._sums[names] + new

    def _restored(self, names: tuple[str, ...], like: torch.Tensor) -> torch.Tensor:
        """Returns what was restored of these names, and forgets it; zeros where there is none."""
        columns = [self._sums.pop((name,), like.new_zeros(2, 1)) for name in names]
        return torch.cat(columns, dim=1).to(like.dtype)

    def plain(self) -> dict[str, list[float]]:
        """Sum and count of each as plain values (waits for the device), from which `restore` goes on."""
        found: dict[str, list[float]] = {}
        for names, sums in self._sums.items():
            for name, total, count in zip(names, *sums.tolist(), strict=True):
                before = found.get(name, (0.0, 0.0))
                found[name] = [before[0] + total, before[1] + count]
        return found

    def restore(self, plain: Mapping[str, Sequence[float]], device: torch.device) -> None:
        """Go on from what ``plain`` returned."""
        dtype = torch.get_default_dtype()
        self._sums = {(name,): torch.tensor(both, device=device, dtype=dtype)[:, None] for name, both in plain.items()}

    def means(self) -> dict[str, float]:
        """Mean of each over the steps so far, its name behind the prefix (waits for the device); NaN where all is."""
        both = self.plain().items()
        return {f"{self.prefix}{name}": total / count if count else math.nan for name, (total, count) in both}


# How many val pairs an epoch's scores are the mean of, among its numbers.
PAIRS = "validation/pairs"


def own_scores(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Validation metrics among an epoch's or a checkpoint's numbers; empty where it was not validated."""
    return {name: float(numbers[name]) for name in METRICS if name in numbers}
