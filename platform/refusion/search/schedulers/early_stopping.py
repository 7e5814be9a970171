"""Schedulers that stop poor trials early and pause none: successive halving and the median stopping rule."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler

from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import SCORE, Result, ScoredScheduler, number_of
from refusion.search.trials.trainable import EPOCH

# Fewer running means than these say nothing about a trial (Ray Tune's own default too).
_FEWEST_MEANS = 3


def asha_rungs(epochs: int, grace: int, factor: int) -> list[int]:
    """The epochs below ``epochs`` at which asynchronous successive halving decides: grace · factor^k."""
    rungs = []
    rung = grace
    while rung < epochs:
        rungs.append(rung)
        rung *= factor
    return rungs


class Asha(ScoredScheduler):
    """Asynchronous successive halving (Li et al., arXiv 1810.05934).

    A rung holds the scores, of this moment, of all trials that ever reached it, those of an earlier part of the sweep
    among them. A trial that is below the top 1/``factor`` of its rung is stopped, and so is one whose metrics are NaN.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, grace: int, factor: int) -> None:
        super().__init__(scoreboard, epochs)
        self.rungs, self.factor = asha_rungs(epochs, grace, factor), factor

    def decide(self, controller: Any, trial: Any, result: Result) -> str:  # noqa: ARG002
        """STOP below the cutoff of the rung just reached."""
        if any(not math.isfinite(result.get(goal.key, 0.0)) for goal in self.scoreboard.objective.goals):
            return str(TrialScheduler.STOP)
        number, epoch = number_of(trial), int(result[EPOCH])
        for rung in reversed([rung for rung in self.rungs if rung <= epoch]):
            others = self.scores_at(rung)
            # At earlier rungs it has been decided on before.
            passed = others.pop(number, None) is not None and rung < epoch
            if not passed:
                return self._at_rung(result[SCORE], list(others.values()))
        return str(TrialScheduler.CONTINUE)

    def _at_rung(self, score: float, others: list[float]) -> str:
        stops = bool(others) and score < np.percentile(others, (1 - 1 / self.factor) * 100)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)


class Median(ScoredScheduler):
    """The median stopping rule (Golovin et al., Google Vizier, KDD 2017).

    A trial is stopped whose best score is below the median, over the at least three other trials that came as far, of
    their mean scores from epoch ``grace`` on. Trials of an earlier part of the sweep count.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, grace: int) -> None:
        super().__init__(scoreboard, epochs)
        self.grace = grace

    def decide(self, controller: Any, trial: Any, result: Result) -> str:  # noqa: ARG002
        """STOP below the median."""
        number, reached = number_of(trial), int(result[EPOCH])
        if reached < self.grace:
            return str(TrialScheduler.CONTINUE)
        came_as_far = self.scores_at(reached).keys()
        best, others = float(result[SCORE]), defaultdict[int, list[float]](list)
        for epoch in range(1, reached + 1):
            for other, score in self.scores_at(epoch).items():
                if other == number and other in came_as_far:
                    best = max(best, score)
                elif other in came_as_far and epoch >= self.grace:
                    others[other].append(score)
        means = [np.mean(scores) for scores in others.values()]
        stops = len(means) >= _FEWEST_MEANS and np.median(means) > best
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)
