"""A recorded sweep with its objective, its space, and its trials scored and ordered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refusion.errors import UserError
from refusion.metrics import METRICS
from refusion.search.objective.objective import Objective, average_ranks, best_trial, scores_at, standings
from refusion.search.space.space import Space
from refusion.tracking.sweeps import BEST_TAG, RecordedSweep, RecordedTrial

DEFAULT_TRIAL = 0


@dataclass(frozen=True)
class Study:
    """The data of every table and plot of a sweep's report.

    Attributes:
        sweep, objective, space, trials: as recorded.
        histories: validated epochs only, of trials that have one; the objective's functions take them.
        scores: ``standings`` of those trials, in [0, 1], higher is better.
        ranks: average rank at ``last_epoch`` of the trials that reached it, 1 is best.
        order: numbers of all trials: first those that reached ``last_epoch``, the best first, then the others by
            score, then those without one.
        last_epoch: the highest epoch that any trial has finished and validated; 0 where there is none.
        best: the trial that the sweep has chosen, else the first in order; None where nothing was validated.
    """

    sweep: RecordedSweep
    objective: Objective
    space: Space
    trials: dict[int, RecordedTrial]
    histories: dict[int, dict[int, dict[str, float]]]
    scores: dict[int, float]
    ranks: dict[int, float]
    order: list[int]
    last_epoch: int
    best: int | None

    @property
    def keys(self) -> list[str]:
        """Metrics of the objective."""
        return [goal.key for goal in self.objective.goals]

    @property
    def metrics(self) -> list[str]:
        """All validation metrics that were recorded, those of one task together, in the catalogue's order."""
        recorded = {key for history in self.histories.values() for row in history.values() for key in row}
        known = [key for key in recorded if key.rpartition("/")[2] in METRICS]
        return sorted(known, key=lambda key: (key.rpartition("/")[0], METRICS.index(key.rpartition("/")[2])))

    @property
    def compared(self) -> list[int]:
        """Trials with values of their own and a score, the data of slices, importance and contour."""
        return [number for number in sorted(self.scores) if number != DEFAULT_TRIAL and self.trials[number].values]

    @property
    def evolves(self) -> bool:
        """True where values changed while trials were trained (population-based training)."""
        return any(len(trial.lineage) > 1 for trial in self.trials.values())


def read_study(sweep: RecordedSweep) -> Study:
    """Scores and orders the trials of a recorded sweep.

    Raises:
        UserError: the recorded objective or space cannot be read (by this version).
    """
    spec = sweep.spec
    try:
        objective = Objective.parse(str(spec["objective"]), list(spec["tasks"]))
        space = Space.read(spec["space"])
    except KeyError as error:
        raise UserError(f"the sweep {sweep.name!r} says nothing of its {error.args[0]} in sweep.yaml") from error
    keys = {goal.key for goal in objective.goals}
    trials = {trial.number: trial for trial in sweep.trials}
    validated = {
        number: {epoch: row for epoch, row in trial.history.items() if keys & row.keys()}
        for number, trial in trials.items()
    }
    histories = {number: history for number, history in validated.items() if history}
    last = max((epoch for history in histories.values() for epoch in history), default=0)
    scores = standings(objective, histories)
    final = scores_at(objective, histories, last)
    order = sorted(
        trials, key=lambda number: (number not in final, -final.get(number, scores.get(number, -math.inf)), number)
    )
    return Study(
        sweep,
        objective,
        space,
        trials,
        histories,
        scores,
        average_ranks(objective, histories, last),
        order,
        last,
        int(sweep.tags[BEST_TAG]) if BEST_TAG in sweep.tags else best_trial(objective, histories, last),
    )


def ending_of(trial: RecordedTrial) -> str:
    """Returns the first word of a trial's ending: finished, stopped, diverged, failed, interrupted or running."""
    return trial.ended.partition(":")[0].strip()


def endings(study: Study) -> dict[str, int]:
    """Returns the number of trials of each ending, the most frequent first."""
    return dict(Counter(ending_of(trial) for trial in study.trials.values()).most_common())


def get_setting(settings: Mapping[str, Any], name: str) -> Any:
    """Returns the value of a dotted setting in nested ones, None where there is none."""
    found: Any = settings
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found
