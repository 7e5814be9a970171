"""Which trials of a sweep go on: Tune's schedulers, whose scores are judged anew whenever a result arrives."""

from __future__ import annotations

from typing import Any

from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.options import PAUSING, PBT_KINDS, SchedulerKind
from refusion.search.schedulers.base import SCORE, OnDecision, ScoredScheduler
from refusion.search.schedulers.early_stopping import Asha, HyperBand, Median, asha_rungs, hyperband_rungs
from refusion.search.schedulers.explore import check_pbt_space
from refusion.search.schedulers.pb2 import Pb2
from refusion.search.schedulers.pbt import OnExploit, Pbt
from refusion.search.space.space import Space
from refusion.search.trials.trainable import EPOCH

__all__ = ["EPOCH", "SCORE", "make_scheduler", "rungs"]


def _tell_nobody(trial: int, donor: int, epoch: int, values: dict[str, Any]) -> None:
    """Stands in where nobody wants to hear of exchanges."""


def make_scheduler(
    kind: SchedulerKind,
    scoreboard: Scoreboard,
    *,
    epochs: int,
    grace: int = 1,
    factor: int = 3,
    interval: int = 2,
    space: Space | None = None,
    base: Settings | None = None,
    seed: int = 0,
    on_exploit: OnExploit = _tell_nobody,
    on_decision: OnDecision | None = None,
) -> ScoredScheduler:
    """A scheduler for Tune; the trials' configurations hold ``number`` and ``values``, their results ``EPOCH``.

    Args:
        kind: asha, hyperband and median stop trials; pbt and pb2 exchange weights and values; none only judges.
        scoreboard: hears of every result first. What it knows already, of earlier parts of the sweep, counts.
        epochs: of a trial that is not stopped.
        grace: epochs that no trial is stopped before.
        factor: one trial in so many goes on at each rung of asha and hyperband.
        interval: epochs between two exchanges of a population.
        space: of a population's values.
        base: settings that a population's values are laid over, to see which are valid.
        seed: of a population's exchanges.
        on_exploit: told of each trial that goes on from another's checkpoint, before it does.
        on_decision: told after each epoch of a trial whether it goes on, where trials end by themselves.

    Raises:
        UserError: an option makes no sense with the others, or the space cannot be searched by this scheduler.
        ValueError: a population without ``space`` and ``base``; ``on_decision`` with a scheduler that pauses trials.
    """
    _check(kind, epochs, grace, factor, interval)
    if on_decision is not None and kind in PAUSING:
        raise ValueError(f"{kind} pauses trials, which those that end by themselves cannot do")
    if kind in PBT_KINDS:
        return _population(kind, scoreboard, epochs, interval, space, base, seed, on_exploit)
    scheduler = _stopping(kind, scoreboard, epochs, grace, factor)
    scheduler.on_decision = on_decision
    return scheduler


def _stopping(kind: SchedulerKind, scoreboard: Scoreboard, epochs: int, grace: int, factor: int) -> ScoredScheduler:
    if kind == "asha":
        return Asha(scoreboard, epochs, grace, factor)
    if kind == "hyperband":
        return HyperBand(scoreboard, epochs, grace, factor)
    if kind == "median":
        return Median(scoreboard, epochs, grace)
    return ScoredScheduler(scoreboard, epochs)


def _population(
    kind: SchedulerKind,
    scoreboard: Scoreboard,
    epochs: int,
    interval: int,
    space: Space | None,
    base: Settings | None,
    seed: int,
    on_exploit: OnExploit,
) -> ScoredScheduler:
    if space is None or base is None:
        raise ValueError(f"{kind} needs the space of its values and the settings that they are laid over")
    check_pbt_space(kind, space, base)
    population = Pb2 if kind == "pb2" else Pbt
    return population(scoreboard, epochs, interval, space, base, seed, on_exploit)


def rungs(kind: SchedulerKind, epochs: int, grace: int = 1, factor: int = 3) -> list[int]:
    """After which epochs trials may be stopped, in order; none for a population and for ``none``."""
    if kind == "asha":
        return asha_rungs(epochs, grace, factor)
    if kind == "hyperband":
        return hyperband_rungs(epochs, grace, factor)
    return list(range(grace, epochs)) if kind == "median" else []


def _check(kind: SchedulerKind, epochs: int, grace: int, factor: int, interval: int) -> None:
    if kind in ("asha", "hyperband", "median") and not 1 <= grace <= epochs:
        raise UserError(f"--grace {grace}: choose 1 to {epochs}, the epochs of a trial")
    if kind in ("asha", "hyperband") and factor < 2:
        raise UserError(f"--reduction {factor}: one trial in so many goes on at each rung; choose 2 or more")
    if kind in PBT_KINDS and not 1 <= interval < epochs:
        raise UserError(
            f"--interval {interval}: the exchanges of --scheduler {kind} must come before the end of a trial's "
            f"{epochs} epochs; choose {f'1 to {epochs - 1}' if epochs > 1 else 'more --schedule.epochs'}"
        )
