"""Objective of a search: one metric, the average rank over several, or the Pareto front."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from refusion.errors import UserError
from refusion.metrics import CATALOGUE, METRICS
from refusion.search.objective.ranking import Array, fronts, mean_ranks, pareto_shares, share_beaten, wins
from refusion.search.options import DEFAULT_OBJECTIVE

_PARETO: Literal["pareto"] = "pareto"

# Trial number → finished epochs → metric → number.
Histories = Mapping[int, Mapping[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Goal:
    """One metric that counts: ``key`` as in the histories (SSIM, or IVIF/SSIM), ``weight`` > 0, and which way is up."""

    key: str
    weight: float = 1.0
    higher: bool = True

    def value(self, numbers: Mapping[str, float]) -> float:
        """The metric with its sign such that higher is better; −inf where it is missing or no finite number."""
        number = float(numbers.get(self.key, math.nan))
        if not math.isfinite(number):
            return -math.inf
        return number if self.higher else -number


@dataclass(frozen=True)
class Objective:
    """``value``: one metric; ``rank``: weighted average rank over the goals; ``pareto``: non-dominated fronts, ties by
    average rank. ``text`` is what it was read from, and reads back to the same with the same tasks."""

    kind: Literal["value", "rank", "pareto"]
    goals: tuple[Goal, ...]
    text: str

    @property
    def weights(self) -> list[float]:
        """The goals' weights, in their order."""
        return [goal.weight for goal in self.goals]

    @staticmethod
    def parse(text: str, tasks: Sequence[str]) -> Objective:
        """Read ``SSIM``, ``SSIM,Qabf:2,VIF`` (a weight after the colon) or ``pareto:SSIM,Qabf``.

        Args:
            text: names of the metrics that are measured while training, in any case.
            tasks: what a trial trains. With several, every metric counts once per task, under the key TASK/METRIC.

        Raises:
            UserError: unknown or repeated metric, a weight that is no positive number, a front of one goal, or metrics
                that all reward noise.
        """
        head, colon, rest = text.partition(":")
        pareto = bool(colon) and head.strip().lower() == _PARETO
        weights = _weights((rest if pareto else text).split(","), text)
        if all(CATALOGUE[name].noise_sensitive for name in weights):
            better = ", ".join(name for name in METRICS if not CATALOGUE[name].noise_sensitive)
            raise UserError(
                f"--objective {text}: noise raises {', '.join(weights)}, so a search would find the noisiest images; "
                f"name at least one of {better} as well"
            )
        prefixes = [f"{task}/" for task in tasks] if len(tasks) > 1 else [""]
        goals = tuple(
            Goal(prefix + name, weight, CATALOGUE[name].direction == "higher")
            for prefix in prefixes
            for name, weight in weights.items()
        )
        if pareto and len(goals) == 1:
            raise UserError(f"--objective {text}: a Pareto front needs at least two metrics")
        kind = _PARETO if pareto else _kind(goals)
        return Objective(kind, goals, text.strip())


def _kind(goals: Sequence[Goal]) -> Literal["value", "rank"]:
    return "value" if len(goals) == 1 else "rank"


def _weights(parts: Sequence[str], text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in parts:
        written, colon, weight = (text.strip() for text in part.partition(":"))
        name = _metric(written, text)
        if name in weights:
            raise UserError(f"--objective {text}: {name} is named twice")
        weights[name] = _weight(weight, name, text) if colon else 1.0
    return weights


def _metric(written: str, text: str) -> str:
    known = {name.lower(): name for name in METRICS}
    if not written:
        raise UserError(f"--objective {text}: name metrics, separated by commas, such as {DEFAULT_OBJECTIVE}")
    if written.lower() in known:
        return known[written.lower()]
    near = difflib.get_close_matches(written.lower(), list(known), n=1, cutoff=0.4)
    hint = f"did you mean {known[near[0]]}?" if near else f"choose from {', '.join(METRICS)}"
    other = written.lower() in (name.lower() for name in CATALOGUE)
    what = f"{written} is not measured while training" if other else f"there is no metric {written!r}"
    raise UserError(f"--objective {text}: {what}; {hint}")


def _weight(written: str, name: str, text: str) -> float:
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"--objective {text}: the weight of {name} must be a positive number (it is {written!r})")
    return weight


def scores_at(objective: Objective, histories: Histories, epoch: int) -> dict[int, float]:
    """Scores the trials that have finished ``epoch``, compared at just that epoch; higher is better.

    ``value``: the metric itself (negated where lower is better), −inf where it is missing or no finite number. ``rank``
    and ``pareto``: in [0, 1], the share of the other trials that it beats (see `ranking`); alone 0.5.
    """
    numbers, table = _table(objective, histories, epoch)
    if objective.kind == "value":
        scores = table[:, 0]
    elif objective.kind == "rank":
        scores = share_beaten(mean_ranks(table, objective.weights))
    else:
        scores = pareto_shares(table, objective.weights)
    return dict(zip(numbers, scores.tolist(), strict=True))


def standings(objective: Objective, histories: Histories) -> dict[int, float]:
    """One score in [0, 1] for every trial that has a result, however far it came.

    The weighted share of goals that it wins against the other trials (ties half), each two compared at the highest
    epoch that both have; where all trials have equally many epochs these are the ``rank`` scores of the last one. A
    trial that dominates another always stands above it, so the same serves ``pareto``.
    """
    keys = {goal.key for goal in objective.goals}
    # Epochs without validation have losses only and would make everybody equal.
    measured = {epoch for history in histories.values() for epoch, found in history.items() if keys & found.keys()}
    numbers = sorted(number for number, history in histories.items() if measured & history.keys())
    place = {number: position for position, number in enumerate(numbers)}
    won = np.zeros((len(numbers), len(numbers)))
    open_pairs = ~np.eye(len(numbers), dtype=bool)
    for epoch in sorted(measured, reverse=True):
        members, table = _table(objective, histories, epoch)
        block = np.ix_([place[number] for number in members], [place[number] for number in members])
        won[block] = np.where(open_pairs[block], wins(table, table, objective.weights), won[block])
        open_pairs[block] = False
    compared = len(numbers) - 1 - open_pairs.sum(axis=1)
    scores = np.where(compared > 0, won.sum(axis=1) / np.maximum(compared, 1), 0.5)
    return dict(zip(numbers, scores.tolist(), strict=True))


def average_ranks(objective: Objective, histories: Histories, epoch: int) -> dict[int, float]:
    """The weighted average rank over the goals at ``epoch``, 1 = best, ties share the mean place; for tables."""
    numbers, table = _table(objective, histories, epoch)
    return dict(zip(numbers, mean_ranks(table, objective.weights).tolist(), strict=True))


def best_trial(objective: Objective, histories: Histories, epoch: int) -> int | None:
    """The trial with the highest score at ``epoch``, of equal ones the lowest number; None where none has a number."""
    numbers, table = _table(objective, histories, epoch)
    measured = {number for number, row in zip(numbers, table, strict=True) if np.isfinite(row).any()}
    scores = scores_at(objective, histories, epoch)
    return max(sorted(measured), key=lambda number: scores[number], default=None)


def front(objective: Objective, histories: Histories, epoch: int) -> list[int]:
    """The trials at ``epoch`` that no other dominates in the goals, by number."""
    numbers, table = _table(objective, histories, epoch)
    return [number for number, place in zip(numbers, fronts(table), strict=True) if place == 0]


def _table(objective: Objective, histories: Histories, epoch: int) -> tuple[list[int], Array]:
    numbers = sorted(number for number, history in histories.items() if epoch in history)
    rows = [[goal.value(histories[number][epoch]) for goal in objective.goals] for number in numbers]
    return numbers, np.array(rows, dtype=np.float64).reshape(len(numbers), len(objective.goals))
