"""One parameter of a search space: a range of numbers or a list of choices, and under which conditions it is active."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from refusion.errors import UserError

Condition = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Parameter:
    """A setting (dotted name), or a switch (name begins with ``_``) on which the conditions of others can rest.

    ``low`` and ``high`` are inclusive and belong to kinds float and int; ``log`` spreads draws evenly over magnitudes.
    ``choices`` belong to kind choice and may be of any plain type. ``points`` says how many values of the range a grid
    has. The parameter is active where every condition (parameter, its values) in ``when`` holds.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    points: int | None = None
    when: tuple[Condition, ...] = ()

    @property
    def range(self) -> tuple[float, float]:
        """Ends of the range (whole numbers for kind int).

        Raises:
            UserError: there is none, the parameter has choices.
        """
        if self.low is None or self.high is None:
            raise UserError(f"{self.name}: has choices, but a range {{low: …, high: …}} is needed here")
        return self.low, self.high

    def active(self, values: Mapping[str, Any]) -> bool:
        """True where every condition holds; what is missing from ``values`` fulfils none."""
        return all(name in values and values[name] in wanted for name, wanted in self.when)

    def holds(self, value: Any) -> bool:
        """True where ``value`` is one of the choices, or a number inside the range (a whole one for kind int)."""
        if self.kind == "choice":
            return value in self.choices
        low, high = self.range
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else int | float):
            return False
        return bool(low <= value <= high)

    def draw(self, random: random.Random) -> Any:
        """A random value; every whole number of an int range has its share of the line from low − ½ to high + ½."""
        if self.kind == "choice":
            return self.choices[random.randrange(len(self.choices))]
        low, high = self.range
        if self.kind == "int" and not self.log:
            return random.randint(int(low), int(high))
        margin = 0.5 if self.kind == "int" else 0.0
        return self._nearest(self._position_to_number(random.random(), low - margin, high + margin))

    def to_unit(self, value: float) -> float:
        """Position of ``value`` between low (0) and high (1), on a logarithmic line where ``log`` is set."""
        low, high = self.range
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def from_unit(self, position: float) -> float:
        """The value at ``position`` (clipped to [0, 1]), rounded for kind int."""
        low, high = self.range
        if not 0 < position < 1:
            return low if position <= 0 else high
        return self._nearest(self._position_to_number(position, low, high))

    def grid_values(self) -> Sequence[Any]:
        """Values of a grid: the choices, ``points`` values of a range, or all of an int range.

        Raises:
            UserError: a float range without ``points``.
        """
        if self.kind == "choice":
            return self.choices
        low, high = self.range
        if self.points is not None:
            values = (self.from_unit(index / (self.points - 1)) for index in range(self.points))
            return list(dict.fromkeys(values))
        if self.kind == "float":
            raise UserError(f"{self.name}: a grid needs `points: N` beside low and high, or a list of choices")
        return range(int(low), int(high) + 1)

    def ask(self, trial: BaseTrial) -> Any:
        """The value that an Optuna trial suggests."""
        if self.kind == "choice":
            return self.decoded(trial.suggest_categorical(self.name, self._encoded_choices()))
        low, high = self.range
        if self.kind == "int":
            return trial.suggest_int(self.name, int(low), int(high), log=self.log)
        return trial.suggest_float(self.name, low, high, log=self.log)

    def distribution(self) -> BaseDistribution:
        """The Optuna distribution that :meth:`ask` draws from."""
        if self.kind == "choice":
            return CategoricalDistribution(self._encoded_choices())
        low, high = self.range
        if self.kind == "int":
            return IntDistribution(int(low), int(high), log=self.log)
        return FloatDistribution(low, high, log=self.log)

    def encoded(self, value: Any) -> Any:
        """``value`` as Optuna knows it: a choice that is a list or mapping becomes its JSON text (sorted keys).

        Raises:
            UserError: the value is none of this parameter's.
        """
        if not self.holds(value):
            raise UserError(f"{self.name}: {value!r} lies outside the search space")
        if self.kind != "choice":
            return float(value) if self.kind == "float" else value
        return self._encoded_choices()[self.choices.index(value)]

    def decoded(self, value: Any) -> Any:
        """The reverse of :meth:`encoded`."""
        return self.choices[self._encoded_choices().index(value)] if self.kind == "choice" else value

    def _encoded_choices(self) -> list[bool | int | float | str | None]:
        return [
            choice
            if choice is None or isinstance(choice, str | int | float | bool)
            else json.dumps(choice, sort_keys=True)
            for choice in self.choices
        ]

    def _position_to_number(self, position: float, low: float, high: float) -> float:
        if self.log:
            return math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
        return low + position * (high - low)

    def _nearest(self, number: float) -> float:
        """``number`` rounded for kind int, and inside the range: exp(log(low)) may miss ``low`` by a rounding."""
        low, high = self.range
        return min(max(round(number) if self.kind == "int" else number, low), high)

    def plain(self) -> Any:
        """Content of a sweep file for this parameter."""
        conditions = {name: wanted[0] if _alone(wanted) else list(wanted) for name, wanted in self.when}
        if self.kind == "choice":
            return {"choices": list(self.choices), "when": conditions} if conditions else list(self.choices)
        said: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.log:
            said["log"] = True
        if self.points is not None:
            said["points"] = self.points
        return {**said, "when": conditions} if conditions else said


def _alone(wanted: tuple[Any, ...]) -> bool:
    """True where a condition's values can be written as a single value: a list would be read as several."""
    return len(wanted) == 1 and not isinstance(cast("object", wanted[0]), list)
