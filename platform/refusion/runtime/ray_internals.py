"""Names of Ray that its documentation does not promise, each with the reason why it is needed.

No other module imports or spells such a name. With a new release of Ray, ``tests/runtime/test_ray_internals.py`` tells
which of them has gone or changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError

if TYPE_CHECKING:
    import pandas as pd
    from ray.tune.schedulers.pb2 import PB2


def pb2_proposal(process: PB2, table: pd.DataFrame, trial: Any, donor: Any) -> dict[str, Any]:
    """Configuration that Tune's PB2 proposes for a trial that goes on from a donor's checkpoint.

    Tune asks its PB2 for one only within exchanges of its own, which know neither our scores nor our seeds.

    Args:
        process: the values that it proposed at the same time of the table are in it.
        table: what it learns from: Trial, Time, the hyperparameters and Reward.
        trial, donor: Tune's.

    Raises:
        ValueError or numpy.linalg.LinAlgError: its matrix is singular.
    """
    process.data = table
    config, _ = process._get_new_config(trial, donor)
    return dict(config)


@contextmanager
def losses_counted_once() -> Iterator[None]:
    """Make ``Tuner.fit`` count the loss of a process once; Tune has no setting for that.

    Ray 2.60 reports the loss of a process that turns to its next trial twice: that the process ended, and that it did
    not do what it was asked. At the first report the trial is queued again; the second one finds it waiting and gives
    it up, whatever retries it has left. Nor would it ever get another process, since Tune still counts on the lost
    one's turn to it.
    """
    # Only sweeps need Tune; importing it takes a second.
    from ray.tune import tune as tunes_run
    from ray.tune.experiment import Trial

    tunes_own = tunes_run.TuneController

    class Controller(tunes_own):  # type: ignore[misc,valid-type]
        """Handles the loss of a process once, and gives its trial another."""

        def _trial_task_failure(self, trial: Any, exception: Exception) -> None:
            self._resetting_trials.discard(trial)
            # At the first report Tune has its trial RUNNING, at the second one no longer.
            if trial.status == Trial.RUNNING or not isinstance(exception, RayActorError):
                super()._trial_task_failure(trial, exception)

    tunes_run.TuneController = Controller
    try:
        yield
    finally:
        tunes_run.TuneController = tunes_own
