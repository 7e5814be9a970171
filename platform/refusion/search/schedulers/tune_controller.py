"""Tune's loop, mended: a process that is lost while it turns to its next trial costs that trial one try, not all.

Ray 2.60 reports such a loss twice: that the process ended, and that it did not do what it was asked. At the first
report the trial is queued again; the second one finds it waiting and gives it up, whatever retries it has left. Nor
would it ever get another process, since Tune still counts on the lost one's turn to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import RayActorError
from ray.tune import tune as tunes_run
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial


class Controller(TuneController):
    """Handles the loss of a process once, and gives its trial another."""

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        self._resetting_trials.discard(self._actor_to_trial[tracked_actor])
        super()._actor_failed(tracked_actor, exception)

    def _trial_task_failure(self, trial: Any, exception: Exception) -> None:
        # At the first report Tune has its trial RUNNING, at the second one no longer.
        if trial.status == Trial.RUNNING or not isinstance(exception, RayActorError):
            super()._trial_task_failure(trial, exception)


@contextmanager
def mended_controller() -> Iterator[None]:
    """Within it, ``Tuner.fit`` runs our loop; Tune has no setting for that."""
    tunes_own = tunes_run.TuneController
    tunes_run.TuneController = Controller
    try:
        yield
    finally:
        tunes_run.TuneController = tunes_own
