"""Comparison of the best trial's images with the default settings' on the same held-out pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from refusion.search.objective.objective import Objective
from refusion.search.objective.ranking import Array, wins
from refusion.statistics import RESAMPLES, Interval, bootstrap

# With fewer pairs even a win on every one of them is no more than chance (sign test, two-sided: 2·2⁻⁵ > 5 %).
FEWEST_PAIRS = 6

# Pair → metric → score, as an image's evaluation gives them; over several tasks the metric is called TASK/METRIC.
Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Difference:
    """One metric over the pairs that both methods have a finite score for: both means, and ours − reference."""

    pairs: int
    ours: float
    reference: float
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two methods.

    ``gain`` is above 0 where ours is better. For ``value`` it is the mean paired difference of the metric, turned so
    that up is better; for ``rank`` and ``pareto`` the weighted share of (pair, goal) that ours wins (ties half, no
    finite score loses), minus ½, so from −½ to ½. ``unscored`` counts the pairs where only the reference has a finite
    score in a goal. ``better``: the interval of ``gain`` lies above 0, there are enough pairs to say so
    (``FEWEST_PAIRS``, and two of every task), and, for ``value``, none of ours is unscored.
    """

    objective: str
    kind: str
    pairs: int
    unscored: int
    metrics: dict[str, Difference]
    gain: Interval
    better: bool

    def plain(self) -> dict[str, Any]:
        """Content for JSON: dictionaries, numbers and text, None for what is no number."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def sentence(self, ours: str = "the best trial", reference: str = "trial 0, the base settings") -> str:
        """The result in one sentence."""
        gain, pairs = self.gain, f"{self.pairs} held-out pair{'s' if self.pairs != 1 else ''}"
        if self.kind == "value":
            what = f"mean gain in {self._goals()[0]} {gain.mean:+.4g}"
            interval = f"{gain.low:+.4g} to {gain.high:+.4g}"
        else:
            what = f"it wins {50 + 100 * gain.mean:.1f} % of the comparisons in {', '.join(self._goals())}"
            interval = f"{50 + 100 * gain.low:.1f} % to {50 + 100 * gain.high:.1f} %, 50 % = equal"
        finding = "is better than" if self.better else "is not shown to be better than"
        few = "; too few pairs to tell" if self.pairs < FEWEST_PAIRS else ""
        lost = f"; {self.unscored} of its images have no score" if self.unscored else ""
        known = f"95 % interval {interval}; " if math.isfinite(gain.low) else ""
        return f"{ours} {finding} {reference}: {what} ({known}{pairs}{few}{lost})"

    def _goals(self) -> list[str]:
        text = self.objective.removeprefix("pareto:")
        return [part.partition(":")[0].strip() for part in text.split(",")]


def compare(
    objective: Objective, ours: Scores, reference: Scores, *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two methods on the same pairs.

    Args:
        objective: what counts as better. Pairs of different tasks (keys TASK/METRIC) are resampled within their task.
        ours, reference: pair → metric → score. Both hold the same pairs and all goals of the pair's task.
        seed: of the bootstrap (percentile method; Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
        resamples: how many.

    Raises:
        ValueError: the two hold different pairs, or no pair has one of the goals.
    """
    if ours.keys() != reference.keys():
        raise ValueError(f"scores of different pairs: {sorted(ours.keys() ^ reference.keys())}")
    strata = [_gains(objective, task, ours, reference) for task in _tasks(objective)]
    gain = bootstrap(strata, seed, resamples)
    unscored = sum(_only_reference_scored(objective, ours[name], reference[name]) for name in ours)
    enough = len(ours) >= FEWEST_PAIRS and all(len(stratum) > 1 for stratum in strata)
    every_score_counts = objective.kind != "value" or unscored == 0
    return Comparison(
        objective=objective.text,
        kind=objective.kind,
        pairs=len(ours),
        unscored=unscored,
        metrics={
            key: _difference(key, ours, reference, seed, resamples)
            for key in dict.fromkeys(key for scores in ours.values() for key in scores)
        },
        gain=gain,
        better=gain.low > 0 and enough and every_score_counts,
    )


def _tasks(objective: Objective) -> list[str]:
    """The tasks that the goals name; one nameless task where their keys are bare metrics."""
    return list(dict.fromkeys(goal.key.rpartition("/")[0] for goal in objective.goals))


def _gains(objective: Objective, task: str, ours: Scores, reference: Scores) -> Array:
    """(pairs of the task,): what each pair adds to the gain, so that the tasks' means sum to the gain."""
    goals = [goal for goal in objective.goals if goal.key.rpartition("/")[0] == task]
    names = [name for name in ours if any(goal.key in ours[name] or goal.key in reference[name] for goal in goals)]
    if not names:
        raise ValueError(f"no pair has a score in {', '.join(goal.key for goal in goals)}")
    mine, theirs = (
        np.array([[goal.value(side[name]) for goal in goals] for name in names]) for side in (ours, reference)
    )
    if objective.kind == "value":
        both = np.isfinite(mine[:, 0]) & np.isfinite(theirs[:, 0])
        return np.asarray(mine[both, 0] - theirs[both, 0], dtype=np.float64)
    weights = [goal.weight for goal in goals]
    share = sum(weights) / sum(objective.weights)
    won = [float(wins(row[None], other[None], weights)[0, 0]) for row, other in zip(mine, theirs, strict=True)]
    return share * (np.array(won) - 0.5)


def _only_reference_scored(objective: Objective, ours: Mapping[str, float], reference: Mapping[str, float]) -> bool:
    return any(math.isfinite(goal.value(reference)) and not math.isfinite(goal.value(ours)) for goal in objective.goals)


def _difference(key: str, ours: Scores, reference: Scores, seed: int, resamples: int) -> Difference:
    both = [
        (float(ours[name].get(key, math.nan)), float(reference[name].get(key, math.nan)))
        for name in ours
        if key in ours[name]
    ]
    finite = np.array([pair for pair in both if all(map(math.isfinite, pair))], dtype=np.float64).reshape(-1, 2)
    mine, theirs = finite.mean(axis=0).tolist() if len(finite) else (math.nan, math.nan)
    return Difference(len(finite), mine, theirs, bootstrap([finite[:, 0] - finite[:, 1]], seed, resamples))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
