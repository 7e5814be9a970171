"""Adapters between Tune and the sweep's state: Tune's callbacks, and its requests for a suggestion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from refusion.runtime.failures import reason_of
from refusion.search.state import SweepState
from refusion.search.trials.multi_worker import CHECKPOINT_PATH
from refusion.search.trials.trainable import EPOCH, NOTE, NUMBER, PROBLEM

# Numbers that Tune itself adds to each result.
_TUNES_OWN = (
    "done", "training_iteration", "timestamp", "pid", "time_this_iter_s", "time_total_s", "time_since_restore",
    "iterations_since_restore", "seconds", "score", NUMBER, EPOCH,
)  # fmt: skip
# Seconds without a running trial after which that is said, and between two such messages.
_PATIENCE = 20.0


def _nothing() -> None:
    return None


class _StaysHere:
    """Object that pickles to a function that does nothing: a sweep is resumed from its own journal, not by Tune."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _nothing, ()


class Suggestions(_StaysHere, Searcher):
    """Searcher that hands Tune the configurations of a sweep's suggestion queue.

    Args:
        next_config: a trial's configuration, None where it must wait for other trials' results, or "end".
    """

    def __init__(self, next_config: Callable[[], dict[str, Any] | str | None]) -> None:
        super().__init__(metric="score", mode="max")
        self._next_config = next_config

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        """Answer Tune's request for one more trial."""
        config = self._next_config()
        return Searcher.FINISHED if config == "end" else config

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the state hears of it by the callback."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: see ``_StaysHere``."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: see ``_StaysHere``."""


class Events(_StaysHere, tune.Callback):
    """Callback that passes Tune's events on to the sweep's state, in the driver's process.

    Args:
        state: of the sweep.
        refresh: called at every turn of Tune's loop, to renew the display.
        say: prints one line.
        resources: what a trial takes of the cluster.
        waiting: numbers of the trials that run but wait for their workers' resources, where trials have workers.
    """

    def __init__(
        self,
        state: SweepState,
        refresh: Callable[[], None],
        say: Callable[[str], None],
        resources: Mapping[str, float],
        waiting: Callable[[], set[int]] | None = None,
    ) -> None:
        self.state, self.refresh, self.say = state, refresh, say
        self.resources = dict(resources)
        self.idle_since = self.looked = time.monotonic()
        self.waiting = waiting or set
        self.waited: set[int] = set()
        self.problems: dict[int, str] = {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002
        """Renew the display after a turn of Tune's loop, and say why nothing happens where nothing does."""
        for trial in trials:
            number = int(trial.config[NUMBER])
            if trial.status == "PAUSED" and number in self.state.running:
                self.state.paused(number)
        now = time.monotonic()
        if self.state.running:
            self.idle_since = now
        elif now - self.idle_since > _PATIENCE:
            self.idle_since = now
            wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in self.resources.items())
            self.say(f"waiting for resources: a trial takes {wanted}; {_free(self.resources)}")
        if now - self.looked > _PATIENCE:
            self.looked = now
            self._look_who_waits()
        self.refresh()

    def _look_who_waits(self) -> None:
        """Name the trials that wait at two looks in a row."""
        waiting = self.waiting() & self.state.running
        for number in sorted(waiting & self.waited):
            self.say(f"trial {number} waits for its workers' resources; {_free(('CPU', 'GPU'))}")
        self.waited = waiting

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Take note that a process works on a trial, for the first time or again."""
        self.state.started(int(trial.config[NUMBER]))

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Take note of an epoch's numbers, or of the reason why a trial ends."""
        number = int(trial.config[NUMBER])
        if result.get(PROBLEM):
            self.problems[number] = str(result[PROBLEM])
            return
        if result.get(NOTE):
            self.say(f"trial {number}: {result[NOTE]}")
        epoch = int(result[EPOCH])
        if result.get("done"):
            self.state.to_end(number, epoch)
        self.state.reported(number, epoch, _numbers(result), float(result.get("seconds", 0.0)))
        if result.get(CHECKPOINT_PATH):
            self.state.saved(number, epoch, self._uri(str(result[CHECKPOINT_PATH])))

    def _uri(self, path: str) -> str:
        return self.state.manifest.folder.of_ray(path).uri

    def on_checkpoint(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        checkpoint: Any,
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Take note of a stored checkpoint."""
        number = int(trial.config[NUMBER])
        if number not in self.problems:
            epoch = int(trial.last_result.get(EPOCH, 0))
            self.state.saved(number, epoch, self._uri(checkpoint.path))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Take note that a trial was trained to its end, or stopped."""
        number = int(trial.config[NUMBER])
        self.state.ended(number, self.problems.pop(number, ""))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Take note that a trial failed and is tried again."""
        number = int(trial.config[NUMBER])
        self.state.restarted(number)
        self.say(f"trial {number} failed and is tried again: {_reason(trial)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Take note that a trial failed once too often."""
        self.state.ended(int(trial.config[NUMBER]), f"failed: {_reason(trial)}")


def _free(kinds: Iterable[str]) -> str:
    free = ray.available_resources()
    return "free in the cluster: " + ", ".join(f"{free.get(kind, 0):g} {kind}" for kind in kinds)


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in _TUNES_OWN
    }


def _reason(trial: Any) -> str:
    error = trial.get_pickled_error() if hasattr(trial, "get_pickled_error") else None
    if error is not None:
        return reason_of(error)
    text = trial.get_error() if hasattr(trial, "get_error") else None
    lines = [line.strip() for line in str(text or "").splitlines() if line.strip()]
    return lines[-1] if lines else "its process was lost"
