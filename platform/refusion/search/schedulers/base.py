"""Base of a sweep's schedulers, on Tune's public interface: scores each result among all trials.

Scores are computed anew before each decision, since ranks change with every new result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from refusion.search.objective.objective import scores_at
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.trials.trainable import EPOCH, NUMBER, PROBLEM

SCORE = "score"
# The default settings at the sweep's budget: the yardstick, which no scheduler stops.
DEFAULT_TRIAL = 0
# In place of −∞, which quantiles and sums turn into NaN.
WORST = -1e30

Result = dict[str, Any]
# (trial, epoch, whether it goes on)
OnDecision = Callable[[int, int, bool], None]


def number_of(trial: Any) -> int:
    """The sweep's number of one of Tune's trials."""
    return int(trial.config[NUMBER])


class ScoredScheduler(FIFOScheduler):
    """Scores every result and lets each trial train all its epochs; subclasses stop or change trials in ``decide``.

    Results hold the trial's finished epochs under ``EPOCH`` and its metrics by name; ``SCORE`` is put in here.

    Attributes:
        on_decision: told (trial, epoch, whether it goes on) where trials end by themselves; Tune stops none then.
    """

    on_decision: OnDecision | None = None

    def __init__(self, scoreboard: Scoreboard, epochs: int) -> None:
        super().__init__()
        self.scoreboard, self.epochs = scoreboard, epochs

    @property
    def metric(self) -> None:
        """None: the score is given here, so that Tune must not ask the trials for it."""

    @property
    def supports_buffered_results(self) -> bool:
        """False: Tune must ask for a decision before a trial's next epoch begins."""
        return False

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickles to None where Tune saves what it was given: a sweep is resumed from its own journal."""
        return type(None), ()

    def scores_at(self, epoch: int, among: Collection[int] | None = None) -> dict[int, float]:
        """Trial → score, higher is better, of the trials that finished ``epoch``, by what was last measured up to it.

        Empty where nothing was. ``among`` leaves the other trials out of the comparison too.
        """
        histories = {
            number: history
            for number, history in self.scoreboard.histories.items()
            if epoch in history and (among is None or number in among)
        }
        keys = {goal.key for goal in self.scoreboard.objective.goals}
        for measured in range(epoch, 0, -1):
            if any(keys & history.get(measured, {}).keys() for history in histories.values()):
                scores = scores_at(self.scoreboard.objective, histories, measured)
                return {number: max(score, WORST) for number, score in scores.items()}
        return {}

    def record(self, trial: Any, result: Result) -> None:
        """Put a result on the scoreboard and its score into the result, unless that only reports a problem."""
        if EPOCH not in result or result.get(PROBLEM):
            return
        number, epoch = number_of(trial), int(result[EPOCH])
        keys = {goal.key for goal in self.scoreboard.objective.goals}
        self.scoreboard.add(number, epoch, {key: result[key] for key in keys & result.keys()})
        result[SCORE] = self.scores_at(epoch).get(number, WORST)

    def on_trial_result(self, controller: Any, trial: Any, result: Result) -> str:
        """Decides for Tune whether a trial goes on after one more epoch."""
        self.record(trial, result)
        decision = self._decision(controller, trial, result)
        if self.on_decision is None:
            return decision
        self.on_decision(number_of(trial), int(result[EPOCH]), decision != TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def _decision(self, controller: Any, trial: Any, result: Result) -> str:
        if result[EPOCH] >= self.epochs:
            return str(TrialScheduler.STOP)
        if number_of(trial) == DEFAULT_TRIAL:
            return str(TrialScheduler.CONTINUE)
        return self.decide(controller, trial, result)

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """CONTINUE, PAUSE or STOP for a trial other than the default one, before its last epoch."""
        return str(super().on_trial_result(controller, trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: Result) -> None:
        """Record the last result of a trial that ends by itself, which Tune shows only here."""
        self.record(trial, result)
        super().on_trial_complete(controller, trial, result)


def waiting_default_trial(controller: Any) -> Any:
    """The default trial where it waits for its start, else None."""
    waiting = (
        trial
        for trial in controller.get_trials()
        if number_of(trial) == DEFAULT_TRIAL and trial.status in (Trial.PENDING, Trial.PAUSED)
    )
    return next(waiting, None)
