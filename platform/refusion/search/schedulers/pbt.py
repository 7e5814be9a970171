"""Population-based training: at every exchange the worst trials go on from the best ones' weights with new values."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from refusion.config.settings import Settings
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import DEFAULT_TRIAL, WORST, Result, ScoredScheduler, number_of
from refusion.search.schedulers.explore import explore
from refusion.search.space.space import Space
from refusion.search.trials.trainable import EPOCH, START, VALUES

LINEAGE = "lineage"
# Trial, the one whose weights it takes over, finished epochs of those, and its new values.
OnExploit = Callable[[int, int, int, dict[str, Any]], None]
# Share of the trials that take over another's weights at an exchange.
_QUANTILE = 0.25

logger = logging.getLogger(__name__)


class Pbt(ScoredScheduler):
    """PBT (Jaderberg et al., arXiv 1711.09846) with synchronous exchanges among all trials but the default one.

    After every ``interval`` epochs each trial is paused until the slowest has come as far. Then each of the worst
    quarter takes over the checkpoint of one of the best quarter, with the donor's values perturbed or drawn afresh. The
    same results and seed give the same exchanges, in whatever order the results arrive.
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
    ) -> None:
        super().__init__(scoreboard, epochs)
        self.interval, self.space, self.base, self.seed = interval, space, base, seed
        self.on_exploit = on_exploit
        # Finished epochs of the trials that have not ended, as far as an exchange goes by them.
        self._reached: dict[Any, int] = {}
        self._begun_at: dict[Any, int] = {}
        self._copies: set[Any] = set()
        self._next_exchange = interval
        self._has_reports = False

    def new_values(self, trial: Any, donor: Any, epoch: int) -> dict[str, Any]:
        """Values with which the trial goes on after the donor's ``epoch``."""
        return self.near(donor.config[VALUES], trial, epoch)

    def near(self, values: Mapping[str, Any], trial: Any, epoch: int) -> dict[str, Any]:
        """PBT's "explore": a pure function of the values, the seed, the trial's number and the epoch."""
        chance = random.Random(f"{self.seed}/{number_of(trial)}/{epoch}")
        return explore(self.space, values, chance, self.base)

    def on_trial_add(self, controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Take in a new trial, or one that failed and is tried again from its newest checkpoint."""
        if number_of(trial) == DEFAULT_TRIAL:
            return
        self._reached[trial] = self._stands_at(trial)
        if not self._has_reports:
            self._next_exchange = self._exchange_after(min(self._reached.values()))

    def _stands_at(self, trial: Any) -> int:
        known = max(self.scoreboard.histories.get(number_of(trial), {}), default=0)
        begun_at = self._begun_at.setdefault(trial, known)
        latest = trial.latest_checkpoint_result
        return int(latest.metrics.get(EPOCH, begun_at)) if latest else begun_at

    def _exchange_after(self, epoch: int) -> int:
        return (epoch // self.interval + 1) * self.interval

    def decide(self, controller: Any, trial: Any, result: Result) -> str:  # noqa: ARG002
        """PAUSE at an exchange until all are there; Tune saves a checkpoint of each paused trial."""
        self._has_reports = True
        self._copies.discard(trial)
        if result[EPOCH] < self._next_exchange:
            return str(TrialScheduler.CONTINUE)
        self._reached[trial] = int(result[EPOCH])
        return str(TrialScheduler.PAUSE)

    def on_trial_complete(self, controller: Any, trial: Any, result: Result) -> None:
        """Take a trial out, so that nobody waits for it."""
        super().on_trial_complete(controller, trial, result)
        self._reached.pop(trial, None)

    def on_trial_remove(self, controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Take a trial out before its end."""
        self._reached.pop(trial, None)

    def on_trial_error(self, controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Take a trial out, unless Tune is about to try it again."""
        if trial.status != Trial.ERROR:
            self._reached.pop(trial, None)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The trial that is furthest behind; first those that took over a checkpoint, before its owner can replace it.

        Tune asks at every turn of its loop, so that the exchange takes place here, as soon as all wait for it.
        """
        if self._all_wait():
            self._exchange()
        waiting = [
            trial
            for trial in controller.get_trials()
            if trial.status in (Trial.PENDING, Trial.PAUSED)
            and (number_of(trial) == DEFAULT_TRIAL or self._may_train(trial))
        ]
        return min(waiting, key=self._turn, default=None)

    def _may_train(self, trial: Any) -> bool:
        return trial in self._reached and self._reached[trial] < self._next_exchange

    def _turn(self, trial: Any) -> tuple[bool, bool, int, int]:
        member = number_of(trial) != DEFAULT_TRIAL
        epoch = self._reached[trial] if member else 0
        return member, trial not in self._copies, epoch, number_of(trial)

    def _all_wait(self) -> bool:
        """True where every trial has come to the exchange and its checkpoint is saved: until then it is RUNNING."""
        return bool(self._reached) and all(
            epoch >= self._next_exchange and trial.status != Trial.RUNNING for trial, epoch in self._reached.items()
        )

    def _exchange(self) -> None:
        common = min(self._reached.values())
        # The default trial may or may not be there yet, and its place would change the others' ranks.
        scores = self.scores_at(common, {number_of(trial) for trial in self._reached})
        ranked = sorted(self._reached, key=lambda trial: scores.get(number_of(trial), WORST))
        count = min(math.ceil(len(ranked) * _QUANTILE), len(ranked) // 2)
        best = sorted(ranked[len(ranked) - count :], key=number_of)
        for trial in ranked[:count]:
            chance = random.Random(f"{self.seed}/{number_of(trial)}/{common}/donor")
            donor = best[chance.randrange(len(best))]
            if donor.latest_checkpoint_result is not None:
                self._exploit(trial, donor)
            else:
                logger.warning("trial %d has no checkpoint for trial %d", number_of(donor), number_of(trial))
        self._next_exchange = self._exchange_after(max(self._reached.values()))

    def _exploit(self, trial: Any, donor: Any) -> None:
        """Let a paused trial go on from the donor's checkpoint with new values."""
        number, epoch = number_of(trial), self._reached[donor]
        values = self.new_values(trial, donor, epoch)
        # Whatever it had trained beyond the donor's epoch is lost.
        self.scoreboard.cut(number, epoch)
        self.on_exploit(number, number_of(donor), epoch, dict(values))
        other = {key: value for key, value in trial.config.items() if key != START}
        change = {EPOCH: epoch, "from": number_of(donor), VALUES: values}
        trial.set_config({**other, VALUES: values, LINEAGE: [*lineage_of(donor.config), change]})
        trial.on_checkpoint(donor.latest_checkpoint_result)
        self._reached[trial] = epoch
        self._copies.add(trial)


def lineage_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Values that the weights of a trial were trained with, from which epoch on, and the trials they came from."""
    return list(config.get(LINEAGE) or [{EPOCH: 0, "from": None, VALUES: config[VALUES]}])
