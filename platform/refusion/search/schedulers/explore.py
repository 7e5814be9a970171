"""PBT's "explore": the settings that may change while a trial trains, and how they are changed.

Source: Jaderberg et al., "Population Based Training of Neural Networks", arXiv 1711.09846 (explore: resample, perturb).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from refusion.config.schedules import ConstantRate, TiedRate
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.space.parameter import Parameter
from refusion.search.space.space import Space
from refusion.search.space.validation import why_invalid

RATE = "schedule.rate.value"
TIED_RATIO = "schedule.inner_rate.ratio"
INNER_RATE = "schedule.inner_rate.value"
EXPLORABLE = (RATE, TIED_RATIO, INNER_RATE, "schedule.inner_steps", "objective.alpha", "objective.beta", "outer.ratio")

_RESAMPLED = 0.25
_FACTORS = (0.8, 1.25)
_TRIES = 100


def check_explorable(space: Space, base: Settings) -> None:
    """Check that every parameter can change while a trial trains and can be replayed as a schedule afterwards.

    Raises:
        UserError: a parameter is fixed once training began, conditional, or has a choice that is no number; or
            the schedule of the rate that it changes is not constant.
    """
    for parameter in space.parameters:
        name = parameter.name
        if name not in EXPLORABLE:
            raise UserError(f"{name}: cannot change while a trial trains; PBT can search {', '.join(EXPLORABLE)}")
        if parameter.when:
            raise UserError(f"{name}: has a condition (when), but PBT searches all its parameters all the time")
        for choice in parameter.choices:
            if isinstance(choice, bool) or not isinstance(choice, int | float):
                raise UserError(f"{name}: the choice {choice!r} is no number, so PBT cannot change it during training")
    names = {parameter.name for parameter in space.parameters}
    if names >= {TIED_RATIO, INNER_RATE}:
        raise UserError(f"{INNER_RATE}: the inner rate is either a multiple of the rate or its own; leave one out")
    schedule = base.schedule
    if names & {RATE, TIED_RATIO} and not _is_constant(schedule.rate):
        raise UserError(f"schedule.rate: must be constant without warm-up for PBT, {_written(schedule.rate)} was given")
    if TIED_RATIO in names and not isinstance(schedule.inner_rate, TiedRate):
        raise UserError(f"{TIED_RATIO}: needs an inner rate of kind tied, {_written(schedule.inner_rate)} was given")
    if INNER_RATE in names and not _is_constant(schedule.inner_rate):
        raise UserError(
            f"{INNER_RATE}: needs an inner rate of kind constant without warm-up, "
            f"{_written(schedule.inner_rate)} was given"
        )


def explore(
    space: Space, values: Mapping[str, Any], random: random.Random, base: Settings | None = None
) -> dict[str, Any]:
    """New values near ``values``, a pure function of them and the state of ``random``.

    Each parameter is drawn afresh with probability 0.25; otherwise a range's value is multiplied by 0.8 or 1.25 (whole
    numbers move by at least 1) and a choice gives way to a neighbour in its list. Everything stays inside its range.
    With ``base``, invalid combinations are tried again; ``values`` themselves come back if 100 tries fail.
    """
    for _ in range(_TRIES):
        explored = {one.name: _explored(one, values[one.name], random) for one in space.parameters}
        if base is None or why_invalid(space, base, explored) is None:
            return explored
    return dict(values)


def _explored(parameter: Parameter, value: Any, random: random.Random) -> Any:
    resampled = random.random() < _RESAMPLED
    upwards = random.random() < 0.5
    if resampled:
        return parameter.draw(random)
    if parameter.kind == "choice":
        index = parameter.choices.index(value) + (1 if upwards else -1)
        return parameter.choices[min(max(index, 0), len(parameter.choices) - 1)]
    low, high = parameter.range
    moved = value * _FACTORS[upwards]
    if parameter.kind == "int":
        moved = round(moved)
        moved = max(moved, value + 1) if upwards else min(moved, value - 1)
    return min(max(moved, low), high)


def _is_constant(rate: Any) -> bool:
    return isinstance(rate, ConstantRate) and rate.warmup == 0


def _written(rate: Any) -> str:
    warmed = f" with a warm-up of {rate.warmup:g} epochs" if getattr(rate, "warmup", 0) else ""
    return f"{rate.kind}{warmed}"


def check_pbt_space(kind: str, space: Space, base: Settings) -> None:
    """Refuse a space that this kind (pbt, pb2) cannot search.

    Raises:
        UserError: a parameter cannot change while a trial trains, or PB2 is given something other than a range.
    """
    check_explorable(space, base)
    if kind == "pb2":
        for parameter in space.parameters:
            if parameter.kind == "choice" or parameter.when:
                raise UserError(
                    f"{parameter.name}: PB2 searches ranges {{low: …, high: …}} without conditions only; "
                    "give it one, or take --scheduler pbt"
                )
