"""Suggestion queue of a sweep: interrupted trials first, then new ones by the sweep's way of searching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from refusion.search.manifest import SweepManifest
from refusion.search.objective.objective import standings
from refusion.search.options import PBT_KINDS
from refusion.search.space.validation import why_invalid
from refusion.search.state import SweepState
from refusion.search.suggest.samplers import KnownTrial, suggest_optuna, suggest_random
from refusion.search.trials.records import DIVERGED, FAILED, TrialRecord, start_of
from refusion.search.trials.trainable import NUMBER, START, VALUES

# Of few trials at least a third is drawn at random before a sampler begins to learn from them.
_FEWEST_RANDOM, _MOST_RANDOM = 4, 10


def trial_count(manifest: SweepManifest) -> int:
    """Trials besides trial 0: as many as were asked for, of a grid at most all its points.

    Raises:
        UserError: the space has no grid.
    """
    wanted = manifest.options.trials
    return min(wanted, len(manifest.space.grid())) if manifest.options.search == "grid" else wanted


def config_of(number: int, values: dict[str, Any], start: str = "") -> dict[str, Any]:
    """A trial's configuration as ``trials.trainable`` and ``trials.multi_worker`` take it."""
    return {NUMBER: number, VALUES: values, START: start}


@dataclass
class SuggestionQueue:
    """Gives trials their configurations, one after the other.

    Args:
        state: of the sweep.
        going_on: records of trials that go on from a checkpoint.
        earlier: results of earlier sweeps that Optuna begins with.
        concurrent: trials at a time.
    """

    state: SweepState
    going_on: dict[int, TrialRecord]
    earlier: Sequence[KnownTrial] = ()
    concurrent: int = 1
    coming: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        manifest = self.state.manifest
        self.trials = trial_count(manifest)
        known = set(self.state.records)
        self.coming = [number for number in range(self.trials + 1) if number not in known]
        self.waiting = sorted(self.going_on)
        self.grid = manifest.space.grid() if manifest.options.search == "grid" else []

    def next_config(self) -> dict[str, Any] | str | None:
        """The next trial's configuration, None while it must wait for results, "end" after the last."""
        if self.waiting:
            record = self.going_on[self.waiting.pop(0)]
            start = start_of(record, record.epoch, self.state.records)
            return config_of(record.number, record.values, start)
        if not self.coming:
            return "end"
        number = self.coming[0]
        if self._must_wait(number):
            return None
        self.coming.pop(0)
        values = self.values(number)
        self.state.begin(number, values)
        return config_of(number, values)

    def values(self, number: int) -> dict[str, Any]:
        """Values that trial ``number`` is to try; {} of trial 0, the default settings."""
        manifest = self.state.manifest
        options, seed = manifest.options, manifest.base.seed
        if number == 0:
            return {}
        if options.search == "grid":
            return dict(self.grid[number - 1])
        if options.search == "random" or options.scheduler in PBT_KINDS:
            return suggest_random(manifest.space, manifest.base, seed, number)
        known = [*self.earlier, *self._known(number)]
        valid = [trial for trial in self.earlier if why_invalid(manifest.space, manifest.base, trial.values) is None]
        if number == 1 and valid:
            # What was best before is tried again first, at this sweep's budget.
            best = max(valid, key=lambda trial: -math.inf if trial.score is None else trial.score)
            return dict(best.values)
        startup = min(max(self.trials // 3, _FEWEST_RANDOM), _MOST_RANDOM)
        return suggest_optuna(manifest.space, manifest.base, options.sampler, seed, number, known, startup)

    @property
    def _in_order(self) -> bool:
        """True where suggestions wait for certain trials, so that they do not depend on which one ends first.

        Where trials are stopped early that would leave the cluster idle behind the long ones.
        """
        options = self.state.manifest.options
        return options.search == "optuna" and options.scheduler == "none"

    def _must_wait(self, number: int) -> bool:
        if not self._in_order:
            return False
        return any(not self.state.records[other].ended for other in range(max(number - self.concurrent + 1, 0)))

    def _known(self, number: int) -> list[KnownTrial]:
        records = [record for other, record in sorted(self.state.records.items()) if 0 < other < number]
        told = range(number - self.concurrent + 1) if self._in_order else range(number)
        histories = {
            record.number: record.history
            for record in self.state.records.values()
            if record.history and record.number in told
        }
        scores = standings(self.state.scoreboard.objective, histories)
        return [_known_trial(record, scores, record.number in told) for record in records]


def _known_trial(record: TrialRecord, scores: dict[int, float], told: bool) -> KnownTrial:
    if not record.ended or not told:
        return KnownTrial(record.values, None, "running")
    if record.ended.startswith(DIVERGED):
        # Samplers learn nothing from failures, and that these rates are too high is worth learning.
        return KnownTrial(record.values, -math.inf, "finished")
    if record.ended.startswith(FAILED):
        return KnownTrial(record.values, None, "failed")
    return KnownTrial(record.values, scores.get(record.number), "finished")
