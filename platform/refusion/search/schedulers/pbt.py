"""Population-based training: at every exchange the worst trials go on from the best ones' weights with new values."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pbt import _PBTTrialState

from refusion.config.settings import Settings
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import DEFAULT_TRIAL, SCORE, WORST, Result, ScoredScheduler, number_of
from refusion.search.schedulers.explore import explore
from refusion.search.space.space import Space
from refusion.search.trials.trainable import EPOCH, START, VALUES

LINEAGE = "lineage"
# Trial, the one whose weights it takes over, finished epochs of those, and its new values.
OnExploit = Callable[[int, int, int, dict[str, Any]], None]

logger = logging.getLogger(__name__)


class Population(ScoredScheduler):
    """Synchronous exchanges, after every ``interval`` epochs, among all trials but the default one.

    Everybody waits until the slowest has come as far. Then each of the worst quarter takes over the checkpoint of one
    of the best quarter. The same results and seed give the same exchanges, in whatever order the results arrive.
    """

    def __init__(
        self,
        scoreboard: Scoreboard,
        epochs: int,
        interval: int,
        space: Space,
        base: Settings,
        seed: int,
        on_exploit: OnExploit,
        **options: Any,
    ) -> None:
        super().__init__(
            scoreboard, epochs, time_attr=EPOCH, metric=SCORE, mode="max", perturbation_interval=interval, synch=True,
            log_config=False, **options,
        )  # fmt: skip
        self.interval, self.space, self.base, self.seed = interval, space, base, seed
        self.on_exploit = on_exploit
        self._begun_at: dict[Any, int] = {}
        self._copies: set[Any] = set()
        self._has_reports = False

    def new_values(self, trial: Any, donor: Any, epoch: int) -> dict[str, Any]:
        """What the trial goes on with after the donor's ``epoch``."""
        return self.near(donor.config[VALUES], trial, epoch)

    def near(self, values: Mapping[str, Any], trial: Any, epoch: int) -> dict[str, Any]:
        """PBT's "explore": a pure function of the values, the seed, the trial's number and the epoch."""
        chance = random.Random(f"{self.seed}/{number_of(trial)}/{epoch}")
        return explore(self.space, values, chance, self.base)

    def on_trial_add(self, controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Into the population; also where a trial that failed is tried again from its newest checkpoint."""
        if number_of(trial) == DEFAULT_TRIAL:
            return
        state = _PBTTrialState(trial)
        state.last_train_time = self._stands_at(trial)
        self._trial_state[trial] = state
        if not self._has_reports:
            slowest = min(member.last_train_time for member in self._trial_state.values())
            self._next_perturbation_sync = self._exchange_after(slowest)

    def _stands_at(self, trial: Any) -> int:
        known = max(self.scoreboard.histories.get(number_of(trial), {}), default=0)
        begun_at = self._begun_at.setdefault(trial, known)
        latest = trial.latest_checkpoint_result
        return int(latest.metrics.get(EPOCH, begun_at)) if latest else begun_at

    def _exchange_after(self, epoch: int) -> int:
        return (epoch // self.interval + 1) * self.interval

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """PAUSE at an exchange until all are there; NOOP where the exchange has paused the trial already."""
        self._has_reports = True
        self._copies.discard(trial)
        if result[EPOCH] < self._next_perturbation_sync:
            return str(TrialScheduler.CONTINUE)
        state = self._trial_state[trial]
        state.last_train_time, state.last_result = int(result[EPOCH]), result
        self._exchange_if_all_wait(controller)
        return str(TrialScheduler.NOOP if trial.status == Trial.PAUSED else TrialScheduler.PAUSE)

    def on_trial_complete(self, controller: Any, trial: Any, result: Result) -> None:
        """Out of the population."""
        self.record(trial, result)
        self._leave(controller, trial)

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        """Out of the population, before its end."""
        self._leave(controller, trial)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Out of the population, unless Tune is about to try the trial again."""
        if trial.status != Trial.ERROR:
            self._leave(controller, trial)

    def _leave(self, controller: Any, trial: Any) -> None:
        # The others may have been waiting for this one alone.
        if self._trial_state.pop(trial, None) is not None:
            self._exchange_if_all_wait(controller)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """Who is furthest behind; first those that took over a checkpoint, before its owner can replace it."""
        waiting = [
            trial
            for trial in controller.get_trials()
            if trial.status in (Trial.PENDING, Trial.PAUSED)
            and (number_of(trial) == DEFAULT_TRIAL or self._may_train(trial))
        ]
        return min(waiting, key=self._turn, default=None)

    def _may_train(self, trial: Any) -> bool:
        state = self._trial_state.get(trial)
        return state is not None and state.last_train_time < self._next_perturbation_sync

    def _turn(self, trial: Any) -> tuple[bool, bool, int, int]:
        member = number_of(trial) != DEFAULT_TRIAL
        epoch = self._trial_state[trial].last_train_time if member else 0
        return member, trial not in self._copies, epoch, number_of(trial)

    def _exchange_if_all_wait(self, controller: Any) -> None:
        states = self._trial_state
        if not states or any(state.last_train_time < self._next_perturbation_sync for state in states.values()):
            return
        common = min(state.last_train_time for state in states.values())
        # The default trial may or may not be there yet, and its place would change the others' ranks.
        scores = self.scores_at(common, {number_of(trial) for trial in states})
        for trial, state in states.items():
            state.last_score = scores.get(number_of(trial), WORST)
            state.last_checkpoint = None
            state.last_perturbation_time = common
        worst, best = self._quantiles()
        best = sorted(best, key=number_of)
        for trial in worst:
            chance = random.Random(f"{self.seed}/{number_of(trial)}/{common}/donor")
            donor = best[chance.randrange(len(best))]
            if self._has_checkpoint(controller, donor):
                self._exploit(controller, trial, donor)
            else:
                logger.warning("trial %d has no checkpoint for trial %d", number_of(donor), number_of(trial))
        self._next_perturbation_sync = self._exchange_after(max(state.last_train_time for state in states.values()))

    def _has_checkpoint(self, controller: Any, donor: Any) -> bool:
        """Note the checkpoint of the donor's present state; waits for one that is being saved."""
        state = self._trial_state[donor]
        if state.last_checkpoint is None and donor.status == Trial.PAUSED:
            state.last_checkpoint = donor.checkpoint
        elif state.last_checkpoint is None:
            saving = donor.temporary_state.saving_to or controller._schedule_trial_save(donor, result=state.last_result)
            saved = saving.resolve() if saving else None
            state.last_checkpoint = saved.checkpoint if saved else None
        return state.last_checkpoint is not None

    def _exploit(self, controller: Any, trial: Any, donor: Any) -> None:
        # What it is saving is dropped with its process; Tune would keep in mind to stop it after that save.
        trial.temporary_state.saving_to = None
        super()._exploit(controller, trial, donor)
        self._copies.add(trial)

    def _get_new_config(self, trial: Any, donor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        number, epoch = number_of(trial), int(self._trial_state[donor].last_train_time)
        values = self.new_values(trial, donor, epoch)
        # Whatever it had trained beyond the donor's epoch is lost.
        self.scoreboard.cut(number, epoch)
        self.on_exploit(number, number_of(donor), epoch, dict(values))
        kept = {key: value for key, value in trial.config.items() if key != START}
        change = {EPOCH: epoch, "from": number_of(donor), VALUES: values}
        return {**kept, VALUES: values, LINEAGE: [*lineage_of(donor.config), change]}, {}


def lineage_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which values the weights of a trial were trained with, from which epoch on, and from which trial they came."""
    return list(config.get(LINEAGE) or [{EPOCH: 0, "from": None, VALUES: config[VALUES]}])


class Pbt(Population, PopulationBasedTraining):
    """PBT (Jaderberg et al., arXiv 1711.09846): new values are the donor's, perturbed or drawn afresh."""

    def __init__(self, *arguments: Any) -> None:
        # Tune insists on a way to mutate, which `_get_new_config` stands in for.
        super().__init__(*arguments, custom_explore_fn=dict)
