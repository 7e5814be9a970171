"""A search space: which settings are searched, over what, and under which conditions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial

from refusion.errors import UserError
from refusion.search.space.parameter import Parameter
from refusion.search.space.parsing import needed, read_parameters

_LARGEST_GRID = 100_000


@dataclass(frozen=True)
class Space:
    """The parameters, ordered so that each comes after those on which its conditions rest.

    *Values* are a mapping from parameter name to plain value that holds the active parameters only.
    """

    parameters: tuple[Parameter, ...]

    @staticmethod
    def read(content: Mapping[str, Any]) -> Space:
        """The space that the ``space:`` section of a sweep file describes.

        Raises:
            UserError: names the parameter and says what is wrong with it.
        """
        return Space(read_parameters(content))

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def plain(self) -> dict[str, Any]:
        """Content that :meth:`read` takes, of plain types only."""
        return {parameter.name: parameter.plain() for parameter in self.parameters}

    def sample(self, random: random.Random) -> dict[str, Any]:
        """Independent draws for all parameters that become active."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.active(values):
                values[parameter.name] = parameter.draw(random)
        return values

    def sample_with(self, name: str, value: Any, random: random.Random) -> dict[str, Any]:
        """Draws as :meth:`sample` does, but the parameter ``name`` is active and has that value."""
        allowed: dict[str, Sequence[Any]] = {**needed(self.parameters, self[name]), name: (value,)}
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.active(values):
                some = allowed.get(parameter.name)
                values[parameter.name] = parameter.draw(random) if some is None else some[random.randrange(len(some))]
        return values

    def grid(self) -> list[dict[str, Any]]:
        """Returns all combinations of the parameters' grid values; the first varies slowest.

        Raises:
            UserError: a float range lacks ``points``, or there are more than 100 000 combinations.
        """
        grid: list[dict[str, Any]] = [{}]
        for parameter in self.parameters:
            own = parameter.grid_values()
            size = sum(len(own) if parameter.active(values) else 1 for values in grid)
            if size > _LARGEST_GRID:
                raise UserError(
                    f"{parameter.name}: with it the grid has {size} combinations, more than {_LARGEST_GRID}; "
                    "lower `points` or search fewer parameters"
                )
            grid = [
                extended
                for values in grid
                for extended in (
                    [{**values, parameter.name: value} for value in own] if parameter.active(values) else [values]
                )
            ]
        return grid

    def ask(self, trial: BaseTrial) -> dict[str, Any]:
        """Values that an Optuna trial suggests, parameter by parameter (define-by-run)."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.active(values):
                values[parameter.name] = parameter.ask(trial)
        return values

    def distributions(self, values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Optuna's distributions of the parameters that are active in ``values``."""
        return {one.name: one.distribution() for one in self.parameters if one.name in values}

    def encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` as Optuna knows them: choices that are lists or mappings become their JSON text.

        Raises:
            UserError: the values are not of this space (see :meth:`contains`).
        """
        if not self.contains(values):
            raise UserError(f"these values lie outside the search space: {dict(values)}")
        return {one.name: one.encoded(values[one.name]) for one in self.parameters if one.name in values}

    def contains(self, values: Mapping[str, Any]) -> bool:
        """True where ``values`` has exactly the parameters that it makes active, each inside its range or choices."""
        active = [parameter for parameter in self.parameters if parameter.active(values)]
        if {parameter.name for parameter in active} != set(values):
            return False
        return all(parameter.holds(values[parameter.name]) for parameter in active)

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The nested changes of the settings that ``values`` stand for, as ``config.layers.check`` takes them.

        Switches fall away; names that end in numbers become piecewise: ``inner_steps.0`` and ``.4`` [[0, K], [4, K]].
        """
        changes: dict[str, Any] = {}
        for name in sorted(values, key=len):  # a whole setting before its parts
            if not name.startswith("_"):
                changes = _laid_over(changes, _nested(name, values[name]))
        return {key: _numbered_as_piecewise(change) for key, change in changes.items()}

    def to_unit(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Each value's place between low (0) and high (1), logarithmic where ``log`` is set.

        Raises:
            UserError: one of the parameters has choices instead of a range.
        """
        return {name: self[name].to_unit(value) for name, value in values.items()}

    def from_unit(self, unit: Mapping[str, float]) -> dict[str, Any]:
        """The reverse of :meth:`to_unit`: clipped to the ranges, rounded for whole numbers."""
        return {name: self[name].from_unit(position) for name, position in unit.items()}


def _nested(name: str, value: Any) -> dict[str, Any]:
    first, _, rest = name.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _laid_over(base: Any, change: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        return change
    return {**base, **{key: _laid_over(base.get(key), new) for key, new in change.items()}}


def _numbered_as_piecewise(change: Any) -> Any:
    if not isinstance(change, Mapping):
        return change
    if change and all(key.isdecimal() for key in change):
        return [[epoch, change[str(epoch)]] for epoch in sorted(int(key) for key in change)]
    return {key: _numbered_as_piecewise(inner) for key, inner in change.items()}
