"""A scheduler of the user's own, named by its import path: any class on Ray Tune's public ``TrialScheduler``."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import TrialScheduler

from refusion.errors import UserError
from refusion.import_path import resolve
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import (
    DEFAULT_TRIAL,
    SCORE,
    Result,
    ScoredScheduler,
    number_of,
    waiting_default_trial,
)
from refusion.search.trials.trainable import EPOCH


def imported_scheduler(path: str, epochs: int, seed: int) -> TrialScheduler:
    """Makes the scheduler that ``module:Class`` names.

    The class is called without arguments. Then its ``set_search_properties``, which is how Tune too tells schedulers
    what they go by, is given ``metric``, ``mode``, ``time_attr``, ``epochs`` and ``seed``. Results hold the score, of
    which more is better, under ``score``, and the finished epochs under ``epoch`` and ``training_iteration``.

    Raises:
        UserError: there is no such class, it is no ``TrialScheduler``, or it cannot be made like that.
    """
    kind = resolve(path, "scheduler")
    if not (isinstance(kind, type) and issubclass(kind, TrialScheduler)):
        raise UserError(f"--scheduler {path}: is no subclass of ray.tune.schedulers.TrialScheduler; derive it from one")
    try:
        scheduler = kind()
        scheduler.set_search_properties(SCORE, "max", time_attr=EPOCH, epochs=epochs, seed=seed)
    except Exception as error:
        raise UserError(
            f"--scheduler {path}: cannot be made ({type(error).__name__}: {error}); it must take no arguments, and its "
            "set_search_properties those that Tune gives it (metric, mode, **spec)"
        ) from error
    return scheduler


class ImportedScheduler(ScoredScheduler):
    """Scores every result, and leaves the decision on all trials but the default one to another scheduler.

    Every trial ends at the last epoch, whatever the other scheduler says.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, scheduler: TrialScheduler) -> None:
        super().__init__(scoreboard, epochs)
        self.scheduler = scheduler

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Tell the other scheduler of a trial."""
        if number_of(trial) != DEFAULT_TRIAL:
            self.scheduler.on_trial_add(controller, trial)

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """The other scheduler's decision."""
        return str(self.scheduler.on_trial_result(controller, trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: Result) -> None:
        """Tell the other scheduler that a trial ended."""
        super().on_trial_complete(controller, trial, result)
        if number_of(trial) != DEFAULT_TRIAL:
            self.scheduler.on_trial_complete(controller, trial, result)

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        """Tell the other scheduler that a trial ended which was not running."""
        if number_of(trial) != DEFAULT_TRIAL:
            self.scheduler.on_trial_remove(controller, trial)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Tell the other scheduler that a trial failed."""
        if number_of(trial) != DEFAULT_TRIAL:
            self.scheduler.on_trial_error(controller, trial)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The default trial first, then the other scheduler's choice."""
        return waiting_default_trial(controller) or self.scheduler.choose_trial_to_run(controller)
