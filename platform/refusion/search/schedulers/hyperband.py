"""HyperBand: brackets of trials that wait for one another at rungs, where the worst of a bracket are stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import (
    DEFAULT_TRIAL,
    WORST,
    Result,
    ScoredScheduler,
    number_of,
    waiting_default_trial,
)
from refusion.search.trials.trainable import EPOCH


def hyperband_starts(epochs: int, grace: int, factor: int) -> list[int]:
    """The first rung of each of HyperBand's brackets: epochs / factor^s rounded down, none below ``grace``.

    The first bracket stops nobody. Its one "rung" is the last epoch.
    """
    return list(_shrinking(epochs, grace, factor))


def _shrinking(epochs: int, grace: int, factor: int) -> Iterator[int]:
    start = epochs
    while start >= grace:
        yield start
        start //= factor


def hyperband_rungs(epochs: int, grace: int, factor: int) -> list[int]:
    """The epochs below ``epochs`` at which any of HyperBand's brackets is halved."""
    starts = hyperband_starts(epochs, grace, factor)
    return sorted({start * factor**halving for s, start in enumerate(starts) for halving in range(s)})


class Bracket:
    """Trials that are compared with one another.

    Args:
        size: trials that it takes, whether or not those that it took have ended.
        rung: the epoch of its first comparison; each later one comes ``factor`` times as late, the last at ``epochs``.
        halvings: number of comparisons at which trials are stopped.
        epochs: of a trial that is not stopped.
        factor: one trial in so many goes on at each comparison.
    """

    def __init__(self, size: int, rung: int, halvings: int, epochs: int, factor: int) -> None:
        self.size, self.rung, self.halvings, self.epochs, self.factor = size, rung, halvings, epochs, factor
        # Finished epochs of the trials that have not ended, in the order in which they came.
        self.live: dict[Any, int] = {}
        self.woken: set[Any] = set()
        self.being_halved = False
        self._taken, self._survivors, self._trained = 0, size, 0
        self._work = self._whole_work()

    def _whole_work(self) -> int:
        """Epochs that a full bracket trains, about; brackets take turns by the share of them that is done."""
        work, trials, length = 0, self.size, self.rung
        for _ in range(self.halvings + 1):
            work += trials * length
            trials, length = math.ceil(trials / self.factor), min(length * self.factor, self.epochs - self.rung)
        return work

    @property
    def full(self) -> bool:
        """True once the next trial needs another bracket."""
        return self._taken >= self.size

    @property
    def complete(self) -> bool:
        """True where all live trials have come to the rung."""
        return all(epoch >= self.rung for epoch in self.live.values())

    @property
    def finished(self) -> bool:
        """True where all live trials have come to the last epoch."""
        return self.halvings == 0 and self.complete

    @property
    def progress(self) -> float:
        """Share of the bracket's work that is done, in [0, 1]."""
        return 1.0 if self.finished else min(self._trained / self._work, 1.0)

    def add(self, trial: Any) -> None:
        """Take one more trial."""
        self.live[trial] = 0
        self._taken += 1

    def reached(self, trial: Any, epoch: int) -> None:
        """Take note of a live trial's finished epochs."""
        self._trained += epoch - self.live[trial]
        self.live[trial] = epoch
        self.woken.discard(trial)

    def halve(self, scores: dict[int, float]) -> tuple[list[Any], list[Any]]:
        """Move on to the next rung; returns the trials that go on and those that do not.

        Args:
            scores: of the trials by number, at the rung's epoch.
        """
        self.halvings -= 1
        self._survivors = math.ceil(self._survivors / self.factor)
        self.rung = self.epochs if self.halvings == 0 else min(self.rung * self.factor, self.epochs)
        ordered = sorted(self.live, key=lambda trial: scores.get(number_of(trial), WORST))
        return ordered[-self._survivors :], ordered[: -self._survivors]


class HyperBand(ScoredScheduler):
    """HyperBand (Li et al., arXiv 1603.06560) with brackets that start at ``grace`` epochs or later.

    The default trial trains beside the brackets. Members of a bracket are compared at the epoch of its rung.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, grace: int, factor: int) -> None:
        super().__init__(scoreboard, epochs)
        self.starts, self.factor = hyperband_starts(epochs, grace, factor), factor
        # Each band has a bracket for each start; a new one begins when the last is full.
        self._bands: list[list[Bracket]] = [[]]
        self._bracket_of: dict[Any, Bracket] = {}

    def new_bracket(self, s: int) -> Bracket:
        """An empty bracket that is halved ``s`` times."""
        size = math.ceil(len(self.starts) / (s + 1) * self.factor**s)
        return Bracket(size, self.starts[s], s, self.epochs, self.factor)

    def on_trial_add(self, controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Put a trial into a bracket that is not full; one that is tried again keeps its place."""
        if number_of(trial) == DEFAULT_TRIAL or trial in self._bracket_of:
            return
        band = self._bands[-1]
        if not band or band[-1].full:
            if len(band) == len(self.starts):
                band = []
                self._bands.append(band)
            band.append(self.new_bracket(len(band)))
        band[-1].add(trial)
        self._bracket_of[trial] = band[-1]

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """CONTINUE up to the rung; there PAUSE until the bracket is complete, and STOP for the worst."""
        bracket = self._bracket_of[trial]
        bracket.reached(trial, int(result[EPOCH]))
        return self._process(controller, bracket, trial) if bracket.live[trial] >= bracket.rung else _CONTINUE

    def on_trial_complete(self, controller: Any, trial: Any, result: Result) -> None:
        """Take a trial out of its bracket."""
        super().on_trial_complete(controller, trial, result)
        self.on_trial_remove(controller, trial)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Take a trial out of its bracket, unless Tune is about to try it again from an older checkpoint."""
        if trial.status != Trial.ERROR:
            self.on_trial_remove(controller, trial)
        elif trial in self._bracket_of:
            self._bracket_of[trial].live[trial] = 0

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        """Take a trial out of its bracket; the others may have been waiting for this one alone."""
        if number_of(trial) == DEFAULT_TRIAL:
            return
        bracket = self._bracket_of[trial]
        bracket.live.pop(trial, None)
        if not bracket.finished and not bracket.being_halved:
            self._process(controller, bracket)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The default trial first, then of the bracket that is furthest behind."""
        brackets = (bracket for band in self._bands for bracket in sorted(band, key=lambda one: one.progress))
        ready = (
            trial
            for bracket in brackets
            for trial in bracket.live
            if trial.status == Trial.PENDING or (trial.status == Trial.PAUSED and trial in bracket.woken)
        )
        return waiting_default_trial(controller) or next(ready, None)

    def _process(self, controller: Any, bracket: Bracket, current: Any = None) -> str:
        """Halve a bracket where it is complete; returns what becomes of ``current``, the trial that runs."""
        if not bracket.complete:
            return _PAUSE
        if bracket.finished:
            return self._stop_waiting(controller, list(bracket.live))
        action = self._halve(controller, bracket, current)
        # Trials that go on from a checkpoint can be ahead of several rungs, and nobody else would wake them.
        while bracket.live and bracket.complete and not bracket.finished:
            later = self._halve(controller, bracket, current)
            action = action if action == _STOP else later
        return action

    def _halve(self, controller: Any, bracket: Bracket, current: Any) -> str:
        bracket.being_halved = True
        good, bad = bracket.halve(self.scores_at(bracket.rung))
        ended = bad if not bracket.finished else [*bad, *good]
        self._stop_waiting(controller, [trial for trial in ended if trial is not current])
        if current in ended:
            bracket.live.pop(current, None)
        on_their_way = {trial for trial in good if trial in bracket.live and bracket.live[trial] < bracket.rung}
        bracket.woken |= on_their_way - {current}
        bracket.being_halved = False
        return _STOP if current in ended else _CONTINUE if current in on_their_way else _PAUSE

    def _stop_waiting(self, controller: Any, trials: list[Any]) -> str:
        for trial in trials:
            if trial.status == Trial.PAUSED or trial.is_saving:
                controller.stop_trial(trial)
        return _STOP


_CONTINUE, _PAUSE, _STOP = (str(one) for one in (TrialScheduler.CONTINUE, TrialScheduler.PAUSE, TrialScheduler.STOP))
