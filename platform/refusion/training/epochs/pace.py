"""Pace of a training: the time that is left, from what each kind of step has taken so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from refusion.training.epochs.plan import EpochPlan, Kind

# What was measured so many seconds ago counts half: other trainings come and go beside this one.
_HALF_LIFE = 120.0
_STEPS: tuple[Kind, ...] = ("meta", "fusion", "validation")


@dataclass
class _Measured:
    cost: float = 0.0
    seconds: float = 0.0

    def add(self, cost: float, seconds: float) -> None:
        kept = 0.5 ** (seconds / _HALF_LIFE)
        self.cost = self.cost * kept + cost
        self.seconds = self.seconds * kept + seconds


@dataclass
class Pace:
    """Seconds that each kind of step takes, by the cost of one (`EpochPlan.cost`)."""

    _measured: dict[Kind, _Measured] = field(default_factory=dict)

    def add(self, kind: Kind, cost: float, seconds: float) -> None:
        """Adds the seconds that steps of that whole cost took."""
        self._measured.setdefault(kind, _Measured()).add(cost, seconds)

    def of(self, kind: Kind, cost: float) -> float | None:
        """Returns the seconds that a step of that cost takes; None where no such step was measured."""
        found = self._measured.get(kind)
        return None if found is None or not found.cost else cost * found.seconds / found.cost

    def left(self, plans: Sequence[EpochPlan], epoch: int, done: Mapping[Kind, int]) -> float | None:
        """Seconds from a moment to the end of the training; None where a kind that is left was not measured.

        Args:
            plans: of all epochs.
            epoch: the present one (0-based).
            done: steps of each kind that the present epoch has behind it.
        """
        seconds = 0.0
        for number, plan in enumerate(plans[epoch:], epoch):
            for kind in _STEPS:
                count = plan.count(kind) - (done.get(kind, 0) if number == epoch else 0)
                each = self.of(kind, plan.cost(kind)) if count > 0 else 0.0
                if each is None:
                    return None
                seconds += max(count, 0) * each
        return seconds


class Stopwatch:
    """Times steps for a pace: each lap is the time since the last one.

    Args:
        pace: to which laps are added.
        done: steps that were done before.
    """

    def __init__(self, pace: Pace, done: Mapping[Kind, int] | None = None) -> None:
        self.pace = pace
        self._done = dict(done or {})
        self._since = time.perf_counter()

    def lap(self, kind: Kind, cost: float, done: int) -> None:
        """Adds the steps since the last lap, each of that cost; ``done`` steps of that kind are done now."""
        now = time.perf_counter()
        self.pace.add(kind, cost * (done - self._done.get(kind, 0)), now - self._since)
        self._done[kind], self._since = done, now
