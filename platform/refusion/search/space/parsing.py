"""The ``space:`` section of a sweep file read into parameters, with one clear sentence where it is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from refusion.errors import UserError
from refusion.search.space.parameter import Condition, Parameter

_RANGE_KEYS = ("low", "high", "log", "points", "when")
_CHOICE_KEYS = ("choices", "when")
_FORMS = "a list of choices, {choices: […]} or {low: …, high: …}"
# YAML 1.1 reads 1e-3 (without a dot) as text.
_NUMBER_AS_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def read_parameters(content: Mapping[Any, Any]) -> tuple[Parameter, ...]:
    """The parameters, each after those on which its conditions rest, otherwise by name.

    The order does not depend on the file's, so that a space that was written down and read again draws the same.

    Raises:
        UserError: names the parameter and says what is wrong with it.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"must be a mapping (setting: values), not {type(content).__name__}")
    parameters = {name: _parameter(name, said) for name, said in content.items()}
    for parameter in parameters.values():
        for name, wanted in parameter.when:
            _check_condition(parameter, parameters.get(name), name, wanted)
    ordered = _ordered(parameters)
    _check_overlaps(ordered)
    return ordered


def needed(ordered: Sequence[Parameter], parameter: Parameter) -> dict[str, tuple[Any, ...]]:
    """Values of other parameters that make ``parameter`` active, with all on which those in turn depend.

    An empty tuple stands where no value does: two conditions contradict one another.
    """
    found: dict[str, tuple[Any, ...]] = {}
    conditions = list(parameter.when)
    while conditions:
        name, wanted = conditions.pop()
        found[name] = tuple(value for value in found.get(name, wanted) if value in wanted)
        conditions += next(other.when for other in ordered if other.name == name)
    return found


def _parameter(name: Any, said: Any) -> Parameter:
    if not isinstance(name, str) or not all(name.split(".")):
        raise UserError(f"{name!r}: a parameter is a setting's dotted name (schedule.rate.value) or a switch (_name)")
    if isinstance(said, list | tuple):
        said = {"choices": said}
    if not isinstance(said, Mapping):
        raise UserError(f"{name}: must be {_FORMS}, not {said!r}")
    if "choices" in said:
        return _choice(name, said)
    if name.startswith("_"):
        raise UserError(f"{name}: is a switch, so it needs a list of choices")
    return _range(name, said)


def _choice(name: str, said: Mapping[Any, Any]) -> Parameter:
    _check_keys(name, said, _CHOICE_KEYS)
    if not isinstance(said["choices"], list | tuple) or not said["choices"]:
        raise UserError(f"{name}: choices must be a list of at least one value (it is {said['choices']!r})")
    choices = tuple(_plain(name, choice) for choice in said["choices"])
    for index, choice in enumerate(choices):
        if choice in choices[:index]:
            raise UserError(f"{name}: the choice {choice!r} stands there twice")
    return Parameter(name, "choice", choices=choices, when=_when(name, said))


def _range(name: str, said: Mapping[Any, Any]) -> Parameter:
    _check_keys(name, said, _RANGE_KEYS)
    for key in ("low", "high"):
        if key not in said:
            raise UserError(f"{name}: {key} is missing (a parameter is {_FORMS})")
    low, high = (_end(name, key, said[key]) for key in ("low", "high"))
    log, points = said.get("log", False), said.get("points")
    if low >= high:
        raise UserError(f"{name}: low ({low:g}) must lie below high ({high:g})")
    if not isinstance(log, bool):
        raise UserError(f"{name}: log must be true or false (it is {log!r})")
    if log and low <= 0:
        raise UserError(f"{name}: a logarithmic range must begin above 0 (low is {low:g})")
    if points is not None and (isinstance(points, bool) or not isinstance(points, int) or points < 2):
        raise UserError(f"{name}: points must be a whole number of at least 2 (it is {points!r})")
    when = _when(name, said)
    if isinstance(low, int) and isinstance(high, int):
        return Parameter(name, "int", low, high, log, points=points, when=when)
    return Parameter(name, "float", float(low), float(high), log, points=points, when=when)


def _check_keys(name: str, said: Mapping[Any, Any], known: Sequence[str]) -> None:
    for key in said:
        if key not in known:
            there_are = " and ".join((", ".join(known[:-1]), known[-1]))
            raise UserError(
                f"{name}: there is no key {key!r}; there are {there_are} "
                f"(settings inside a section are written with dots: {name}.{key})"
            )


def _end(name: str, key: str, said: Any) -> float | int:
    number = _number_if_text(said)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UserError(f"{name}: {key} must be a number (it is {said!r})")
    return number


def _number_if_text(said: Any) -> Any:
    if isinstance(said, str) and _NUMBER_AS_TEXT.fullmatch(said):
        return float(said)
    return said


def _plain(name: str, said: Any) -> Any:
    """The same in types that survive JSON unchanged: lists for tuples, text for the keys of mappings."""
    if isinstance(said, Mapping):
        return {str(key): _plain(name, value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [_plain(name, value) for value in said]
    if said is not None and not isinstance(said, bool | int | float | str):
        raise UserError(f"{name}: {said!r} is neither number, text, true, false, null, list nor mapping")
    return _number_if_text(said)


def _when(name: str, said: Mapping[Any, Any]) -> tuple[Condition, ...]:
    conditions = said.get("when", {})
    if not isinstance(conditions, Mapping):
        raise UserError(f"{name}: when must be a mapping {{parameter: value or list of values}} (it is {conditions!r})")
    return tuple(
        (str(other), tuple(_plain(name, value) for value in (wanted if isinstance(wanted, list | tuple) else [wanted])))
        for other, wanted in sorted(conditions.items(), key=lambda condition: str(condition[0]))
    )


def _check_condition(parameter: Parameter, other: Parameter | None, name: str, wanted: tuple[Any, ...]) -> None:
    if other is None:
        raise UserError(f"{parameter.name}: its condition is on {name}, which is no parameter of this space")
    if other.kind == "float":
        raise UserError(f"{parameter.name}: its condition is on {name}, a range of floats, which hits no value exactly")
    if not wanted:
        raise UserError(f"{parameter.name}: its condition on {name} names no value")
    for value in wanted:
        if not other.holds(value):
            there_are = f"choose from {list(other.choices)}" if other.choices else f"{other.low} to {other.high}"
            raise UserError(f"{parameter.name}: {name} is never {value!r} ({there_are})")


def _ordered(parameters: Mapping[str, Parameter]) -> tuple[Parameter, ...]:
    ordered: dict[str, Parameter] = {}
    waiting = dict(parameters)
    while waiting:
        ready = [one for one in waiting.values() if all(name in ordered for name, _ in one.when)]
        if not ready:
            raise UserError(f"{next(iter(waiting))}: its conditions form a circle ({', '.join(waiting)})")
        ordered |= {one.name: one for one in sorted(ready, key=lambda one: one.name)}
        waiting = {name: one for name, one in waiting.items() if name not in ordered}
    return tuple(ordered.values())


def _check_overlaps(ordered: Sequence[Parameter]) -> None:
    """Refuse contradicting conditions, and a setting that is searched as a whole and in parts at the same time."""
    conditions = {one.name: needed(ordered, one) for one in ordered}
    for one in ordered:
        for name, wanted in conditions[one.name].items():
            if not wanted:
                raise UserError(f"{one.name}: can never be active, its conditions on {name} contradict one another")
        if all(isinstance(cast("object", choice), Mapping) for choice in one.choices) and one.choices:
            continue
        for part in ordered:
            if part.name.startswith(f"{one.name}.") and not _exclude(conditions[one.name], conditions[part.name]):
                raise UserError(
                    f"{part.name}: lies inside {one.name}, which is searched too; give both a condition (when) "
                    "that keeps them apart"
                )


def _exclude(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    return any(not any(value in other[name] for value in wanted) for name, wanted in one.items() if name in other)
