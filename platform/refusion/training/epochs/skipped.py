"""Steps of an epoch that were left out, since a loss or a gradient was not finite: counted on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from refusion.errors import TrainingDivergedError
from refusion.meta.state import TrainingState
from refusion.training.batches import Batches
from refusion.training.epochs.plan import EpochPlan

Phase = Literal["meta", "fusion"]


@dataclass
class SkippedSteps:
    """Counts them by phase, and knows the last one; every worker counts the same."""

    # By phase: how many, and the number of the last (over all epochs).
    _found: dict[Phase, Tensor] = field(default_factory=dict)

    def add(self, phase: Phase, step: int, skipped: Tensor) -> None:
        """Counts a step, given by its number over all epochs, where ``skipped`` is 1; where it is 0 it does nothing."""
        new = torch.stack([skipped, skipped * step]).double()
        if phase not in self._found:
            self._found[phase] = torch.zeros_like(new)
        before = self._found[phase]
        self._found[phase] = torch.stack([before[0] + new[0], torch.where(new[0] > 0, new[1], before[1])])

    def plain(self) -> dict[str, list[float]]:
        """Plain values (waits for the device), from which `restore` goes on."""
        return {phase: found.tolist() for phase, found in self._found.items()}

    def restore(self, plain: dict[Phase, list[float]], device: torch.device) -> None:
        """Goes on from what ``plain`` returned."""
        self._found = {phase: torch.tensor(both, dtype=torch.float64, device=device) for phase, both in plain.items()}

    def counted(self, phase: Phase) -> tuple[int, int]:
        """Returns how many steps of the phase were left out, and the number of the last (waits for the device)."""
        if phase not in self._found:
            return 0, 0
        count, last = self._found[phase].tolist()
        return int(count), int(last)

    @property
    def count(self) -> int:
        """Steps of both phases (waits for the device)."""
        return self.counted("meta")[0] + self.counted("fusion")[0]


@dataclass
class Skips:
    """Says which steps of an epoch were left out, and stops the training where they are too many.

    Args:
        task: of the training.
        most: over all epochs.
        plan, batches, steps: of the epoch.
        state: of the training.
        note: called with a line of text.
    """

    task: str
    most: int
    plan: EpochPlan
    batches: Batches
    steps: SkippedSteps
    state: TrainingState
    note: Callable[[str], None]
    _told: dict[Phase, int] = field(default_factory=dict)

    def check(self, phase: Phase) -> None:
        """Look at the steps of a phase so far (waits for the device).

        Raises:
            TrainingDivergedError: too many were left out; names the last one's phase, number and pictures.
        """
        count, last = self.steps.counted(phase)
        if count == self._told.get(phase, 0):
            return
        self._told[phase] = count
        of_all = self.state.skipped + self.steps.count
        first = self.state.epoch_start[0 if phase == "meta" else 1]
        pictures = ", ".join(self.batches.pictures(phase, last, self.plan.parts if phase == "meta" else 1))
        step = f"{phase} step {last - first + 1} of {self.plan.count(phase)} in epoch {self.state.epoch + 1}"
        told = f"{step} was left out, since its loss or gradient is not finite (pictures: {pictures})"
        # With few steps an epoch, a rate that no training survives would stay below the limit.
        most_of_phase = 2 * count > self.plan.count(phase)
        if of_all > self.most or most_of_phase:
            limit = f"more than --schedule.max_skipped {self.most} allows"
            if most_of_phase:
                limit = f"more than half of the epoch's {phase} steps"
            raise TrainingDivergedError(
                f"{self.task}: {told}; {count if most_of_phase else of_all} such steps are {limit}: "
                "look at these pictures, or lower --schedule.rate"
            )
        self.note(f"{told}; {of_all} of at most {self.most} so far")
