"""Scoreboard of a sweep: every trial's results so far, and its score among the others."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from refusion.search.objective.objective import Objective, scores_at


class Scoreboard:
    """Collects results and scores them afresh at every request, since ranks change with every new result."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.histories: dict[int, dict[int, dict[str, float]]] = {}

    def add(self, number: int, epoch: int, numbers: Mapping[str, Any]) -> None:
        """Keep the numbers that trial ``number`` reported after ``epoch`` epochs, in place of earlier ones."""
        numeric = {name: float(value) for name, value in numbers.items() if _is_number(value)}
        self.histories.setdefault(number, {})[epoch] = numeric

    def cut(self, number: int, epoch: int) -> None:
        """Forget what trial ``number`` reported after ``epoch``: it continues from there and will repeat it."""
        history = self.histories.get(number, {})
        for later in [known for known in history if known > epoch]:
            del history[later]

    def scores_at(self, epoch: int) -> dict[int, float]:
        """Trial → score at that epoch, higher is better (``refusion.search.objective.objective.scores_at``)."""
        return scores_at(self.objective, self.histories, epoch)

    def score(self, number: int, epoch: int) -> float:
        """The score of one trial at an epoch that it has reported.

        Raises:
            KeyError: it has not.
        """
        return self.scores_at(epoch)[number]


def _is_number(value: Any) -> bool:
    """Accepts NumPy's numbers too; flags such as Tune's ``done`` are none."""
    return isinstance(value, Real) and value is not True and value is not False
