"""Makes the scheduler of a sweep, with checks of the options that it goes by."""

from __future__ import annotations

from typing import Any

from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.import_path import is_import_path
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.options import PAUSING, PBT_KINDS, STOPPING
from refusion.search.schedulers.base import SCORE, OnDecision, ScoredScheduler
from refusion.search.schedulers.early_stopping import Asha, Median, asha_rungs
from refusion.search.schedulers.explore import check_pbt_space
from refusion.search.schedulers.hyperband import HyperBand, hyperband_rungs
from refusion.search.schedulers.imported import ImportedScheduler, imported_scheduler
from refusion.search.schedulers.pb2 import Pb2
from refusion.search.schedulers.pbt import OnExploit, Pbt
from refusion.search.space.space import Space
from refusion.search.trials.trainable import EPOCH

__all__ = ["EPOCH", "SCORE", "make_scheduler", "rungs"]


def _tell_nobody(trial: int, donor: int, epoch: int, values: dict[str, Any]) -> None:
    """Stands in where nobody wants to hear of exchanges."""


def make_scheduler(
    kind: str,
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
    """Makes a scheduler for Tune; the trials' configurations hold ``number`` and ``values``, their results ``EPOCH``.

    Args:
        kind: asha, hyperband and median stop trials; pbt and pb2 exchange weights and values; none only
            scores; ``module:Class`` names one on Tune's public interface.
        scoreboard: hears of every result first. What it knows already, of earlier parts of the sweep, counts.
        epochs: of a trial that is not stopped.
        grace: epochs that no trial is stopped before.
        factor: one trial in so many goes on at each rung of asha and hyperband.
        interval: epochs between two exchanges of pbt and pb2.
        space: of the values that pbt and pb2 change.
        base: settings that those values are laid over, to see which are valid.
        seed: of the exchanges.
        on_exploit: told of each trial that goes on from another's checkpoint, before it does.
        on_decision: told after each epoch of a trial whether it goes on, where trials end by themselves.

    Raises:
        UserError: an option makes no sense with the others, or the space cannot be searched by this scheduler.
        ValueError: pbt or pb2 without ``space`` and ``base``; ``on_decision`` with a scheduler that pauses trials.
    """
    _check(kind, epochs, grace, factor, interval)
    if on_decision is not None and kind in PAUSING:
        raise ValueError(f"{kind} pauses trials, which those that end by themselves cannot do")
    if kind in PBT_KINDS:
        return _pbt(kind, scoreboard, epochs, interval, space, base, seed, on_exploit)
    if is_import_path(kind):
        scheduler: ScoredScheduler = ImportedScheduler(scoreboard, epochs, imported_scheduler(kind, epochs, seed))
    else:
        scheduler = _stopping(kind, scoreboard, epochs, grace, factor)
    scheduler.on_decision = on_decision
    return scheduler


def _stopping(kind: str, scoreboard: Scoreboard, epochs: int, grace: int, factor: int) -> ScoredScheduler:
    if kind == "asha":
        return Asha(scoreboard, epochs, grace, factor)
    if kind == "hyperband":
        return HyperBand(scoreboard, epochs, grace, factor)
    if kind == "median":
        return Median(scoreboard, epochs, grace)
    return ScoredScheduler(scoreboard, epochs)


def _pbt(
    kind: str,
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
    scheduler = Pb2 if kind == "pb2" else Pbt
    return scheduler(scoreboard, epochs, interval, space, base, seed, on_exploit)


def rungs(kind: str, epochs: int, grace: int = 1, factor: int = 3) -> list[int]:
    """Epochs after which trials may be stopped, in order; none for pbt, pb2 and ``none``."""
    if kind == "asha":
        return asha_rungs(epochs, grace, factor)
    if kind == "hyperband":
        return hyperband_rungs(epochs, grace, factor)
    if is_import_path(kind):
        return list(range(1, epochs))
    return list(range(grace, epochs)) if kind == "median" else []


def _check(kind: str, epochs: int, grace: int, factor: int, interval: int) -> None:
    if kind in STOPPING and not 1 <= grace <= epochs:
        raise UserError(f"--grace {grace}: choose 1 to {epochs}, the epochs of a trial")
    if kind in ("asha", "hyperband") and factor < 2:
        raise UserError(f"--reduction {factor}: one trial in so many goes on at each rung; choose 2 or more")
    if kind in PBT_KINDS and not 1 <= interval < epochs:
        raise UserError(
            f"--interval {interval}: the exchanges of --scheduler {kind} must come before the end of a trial's "
            f"{epochs} epochs; choose {f'1 to {epochs - 1}' if epochs > 1 else 'more --schedule.epochs'}"
        )
