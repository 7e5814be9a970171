"""Schedulers that stop poor trials early, with scores that are renewed before each decision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.schedulers.hyperband import _Bracket

from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import DEFAULT_TRIAL, SCORE, WORST, Result, ScoredScheduler, number_of
from refusion.search.trials.trainable import EPOCH


def asha_rungs(epochs: int, grace: int, factor: int) -> list[int]:
    """The epochs below ``epochs`` at which asynchronous successive halving decides: grace · factor^k."""
    rungs = []
    rung = grace
    while rung < epochs:
        rungs.append(rung)
        rung *= factor
    return rungs


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


class Asha(ScoredScheduler, AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al., arXiv 1810.05934).

    A rung holds the scores, of this moment, of all trials that ever reached it, those of an earlier part of the sweep
    among them. A trial that is below the top 1/``factor`` of its rung is stopped, and so is one whose metrics are NaN.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, grace: int, factor: int) -> None:
        super().__init__(
            scoreboard, epochs, time_attr=EPOCH, metric=SCORE, mode="max", max_t=epochs, grace_period=grace,
            reduction_factor=factor,
        )  # fmt: skip

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """STOP below the cutoff of the rung just reached."""
        if any(not math.isfinite(result.get(goal.key, 0.0)) for goal in self.scoreboard.objective.goals):
            return str(TrialScheduler.STOP)
        number, epoch = number_of(trial), int(result[EPOCH])
        (bracket,) = self._brackets
        for rung, recorded in bracket._rungs:
            scores = self.scores_at(int(rung))
            if rung == epoch:
                # It is about to enter; Tune compares it with the others and adds it.
                scores.pop(number, None)
            recorded.clear()
            recorded.update({trial.trial_id if n == number else f"trial {n}": score for n, score in scores.items()})
        return super().decide(controller, trial, result)


class Bracket(_Bracket):
    """Tune's, but full once so many trials were put into it, and open to its survivors up to the last epoch.

    With trials that are suggested one by one, Tune's would be kept open by those that ended, and the bracket that stops
    nobody would take them all. Of 10 epochs, one with rungs 1 and 3 would end its survivors at 9.
    """

    def filled(self) -> bool:
        """Whether the next trial needs another bracket."""
        return bool(len(self._all_trials) >= self._n0)

    def successive_halving(self, metric: str, metric_op: float) -> tuple[list[Any], list[Any]]:
        """Who goes on to the next rung, and who does not."""
        good, bad = super().successive_halving(metric, metric_op)
        if self._halves == 0:
            self._r = self._cumul_r = self._max_t_attr
        return good, bad


class HyperBand(ScoredScheduler, HyperBandScheduler):
    """HyperBand (Li et al., arXiv 1603.06560) with brackets that start at ``grace`` epochs or later.

    The default trial trains beside the brackets. Members of a bracket are compared at the epoch of its rung.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, grace: int, factor: int) -> None:
        super().__init__(
            scoreboard, epochs, time_attr=EPOCH, metric=SCORE, mode="max", max_t=epochs, reduction_factor=factor
        )
        starts = hyperband_starts(epochs, grace, factor)
        # Tune's own, in floating point, lose a bracket at 243 = 3⁵ and know no grace.
        self._s_max_1 = len(starts)
        self._get_r0 = starts.__getitem__

    def _create_bracket(self, s: int) -> Bracket:
        return Bracket(EPOCH, self._get_n0(s), self._get_r0(s), self.epochs, self._eta, s)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Into the bracket that has room; one that is tried again keeps its place."""
        if number_of(trial) != DEFAULT_TRIAL and trial not in self._trial_info:
            super().on_trial_add(controller, trial)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Out of its bracket, unless Tune is about to try the trial again from an older checkpoint."""
        if trial.status != Trial.ERROR:
            self.on_trial_remove(controller, trial)
        elif trial in self._trial_info:
            self._trial_info[trial][0]._live_trials[trial] = None

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        """Out of its bracket; Tune calls this at each end of a trial."""
        if number_of(trial) != DEFAULT_TRIAL:
            super().on_trial_remove(controller, trial)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The default trial first, which no bracket would choose."""
        waiting = (
            trial
            for trial in controller.get_trials()
            if number_of(trial) == DEFAULT_TRIAL and trial.status in (Trial.PENDING, Trial.PAUSED)
        )
        return next(waiting, None) or super().choose_trial_to_run(controller)

    def _process_bracket(self, controller: Any, bracket: Any) -> str:
        action = self._halve(controller, bracket)
        # Trials that go on from a checkpoint can be ahead of several rungs, and nobody else would wake them.
        while bracket.current_trials() and bracket.cur_iter_done() and not bracket.finished():
            later = self._halve(controller, bracket)
            action = action if action == TrialScheduler.STOP else later
        return action

    def _halve(self, controller: Any, bracket: Any) -> str:
        if bracket.cur_iter_done():
            scores = self.scores_at(int(bracket._cumul_r))
            for trial, result in bracket._live_trials.items():
                result[SCORE] = scores.get(number_of(trial), WORST)
        action = str(super()._process_bracket(controller, bracket))
        # Tune leaves this set, after which trials that wait for one that fails would wait for ever.
        bracket.is_being_processed = False
        return action


class Median(ScoredScheduler, MedianStoppingRule):
    """The median stopping rule (Golovin et al., Google Vizier, KDD 2017).

    A trial is stopped whose best score is below the median, over the at least three other trials that came as far, of
    their mean scores from epoch ``grace`` on. Trials of an earlier part of the sweep count.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, grace: int) -> None:
        super().__init__(scoreboard, epochs, time_attr=EPOCH, metric=SCORE, mode="max", grace_period=grace)

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """STOP below the median."""
        number, reached = number_of(trial), int(result[EPOCH])
        came_as_far = self.scores_at(reached).keys()
        stored: dict[Any, list[Result]] = defaultdict(list)
        for epoch in range(1, reached + 1):
            for other, score in self.scores_at(epoch).items():
                # Tune adds the present result by itself.
                if other in came_as_far and (other, epoch) != (number, reached):
                    stored[trial if other == number else other].append({EPOCH: epoch, SCORE: score})
        self._results = stored
        return super().decide(controller, trial, result)

    def _on_insufficient_samples(self, controller: Any, trial: Any, time: float) -> str:  # noqa: ARG002
        """Go on: Tune would have trials take turns, each time with a checkpoint."""
        return str(TrialScheduler.CONTINUE)
