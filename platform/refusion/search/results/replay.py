"""Replay of a PBT trial: settings of one training that repeats all that its weights went through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from refusion.config.layers import merge
from refusion.config.schedules import ConstantRate
from refusion.config.settings import Settings
from refusion.search.schedulers.explore import INNER_RATE, RATE, TIED_RATIO, check_explorable
from refusion.search.space.space import Space

# [[first epoch, value], …]
Piecewise = list[list[Any]]


@dataclass(frozen=True)
class Change:
    """``values`` came into force when ``epoch`` epochs were finished (0: from the beginning)."""

    epoch: int
    values: Mapping[str, Any]


def replayed(space: Space, base: Settings, changes: Sequence[Change]) -> dict[str, Any]:
    """The changes of ``base`` that make one training repeat a trial exactly: each setting piecewise.

    What never changed becomes a plain number or a constant rate. Of several changes at the same epoch the last counts;
    changes at the end of the training or later have no effect. While the ratio of a tied inner rate changes, the inner
    rate becomes a piecewise constant ratio · rate, the product that training itself forms.

    Raises:
        UserError: the space or ``base`` does not allow changes while a trial trains (see ``explore.check_explorable``).
        ValueError: the changes do not begin with epoch 0 or go back in time.
    """
    check_explorable(space, base)
    epochs = [change.epoch for change in changes]
    if not epochs or epochs[0] != 0 or epochs != sorted(epochs):
        raise ValueError(f"the changes of a trial must begin with epoch 0 and go forward, these are at {epochs}")
    in_force = {change.epoch: change.values for change in changes if change.epoch < base.schedule.epochs}
    replay: dict[str, Any] = {}
    for parameter in space.parameters:
        piecewise = _piecewise(in_force, itemgetter(parameter.name))
        replay = merge(replay, _setting(parameter.name, piecewise, in_force, base))
    return replay


def _piecewise(in_force: Mapping[int, Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Any]) -> Piecewise:
    """[epoch, value] wherever the value is another than before."""
    piecewise: Piecewise = []
    for epoch, values in in_force.items():
        value = read(values)
        if not piecewise or piecewise[-1][1] != value:
            piecewise.append([epoch, value])
    return piecewise


def _setting(
    name: str, piecewise: Piecewise, in_force: Mapping[int, Mapping[str, Any]], base: Settings
) -> dict[str, Any]:
    if name == TIED_RATIO:
        return {"schedule": {"inner_rate": _tied(piecewise, in_force, base)}}
    section, _, setting = name.partition(".")
    if name in (RATE, INNER_RATE):
        return {section: {setting.removesuffix(".value"): _rate(piecewise)}}
    return {section: {setting: piecewise if len(piecewise) > 1 else piecewise[0][1]}}


def _rate(piecewise: Piecewise) -> dict[str, Any]:
    if len(piecewise) == 1:
        return {"kind": "constant", "value": piecewise[0][1]}
    return {"kind": "piecewise", "values": piecewise}


def _tied(ratios: Piecewise, in_force: Mapping[int, Mapping[str, Any]], base: Settings) -> dict[str, Any]:
    if len(ratios) == 1:
        return {"kind": "tied", "ratio": ratios[0][1]}
    rate = base.schedule.rate
    assert isinstance(rate, ConstantRate), "check_explorable() has seen to it"
    return _rate(_piecewise(in_force, lambda values: values[TIED_RATIO] * values.get(RATE, rate.value)))
