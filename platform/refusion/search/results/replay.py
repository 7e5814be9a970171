"""What a population-based trial went through, as the settings of one training that repeats it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from refusion.config.layers import merge
from refusion.config.schedules import ConstantRate
from refusion.config.settings import Settings
from refusion.search.schedulers.explore import INNER_RATE, RATE, TIED_RATIO, mutable
from refusion.search.space.space import Space

Pieces = list[list[Any]]


@dataclass(frozen=True)
class Change:
    """``values`` came into force when ``epoch`` epochs were finished (0: from the beginning)."""

    epoch: int
    values: Mapping[str, Any]


def replayed(space: Space, base: Settings, changes: Sequence[Change]) -> dict[str, Any]:
    """The changes of ``base`` that make one training repeat a trial exactly: each setting with its pieces.

    What never changed becomes a plain number or a constant rate. Of several changes at the same epoch the last counts;
    changes at the end of the training or later have no effect. While the ratio of a tied inner rate changes, the inner
    rate becomes pieces of ratio · rate, the product that training itself forms.

    Raises:
        UserError: the space or ``base`` does not allow changes while a trial trains (see ``mutation.mutable``).
        ValueError: the changes do not begin with epoch 0 or go back in time.
    """
    mutable(space, base)
    epochs = [change.epoch for change in changes]
    if not epochs or epochs[0] != 0 or epochs != sorted(epochs):
        raise ValueError(f"the changes of a trial must begin with epoch 0 and go forward, these are at {epochs}")
    in_force = {change.epoch: change.values for change in changes if change.epoch < base.schedule.epochs}
    replay: dict[str, Any] = {}
    for parameter in space.parameters:
        pieces = _pieces(in_force, itemgetter(parameter.name))
        replay = merge(replay, _setting(parameter.name, pieces, in_force, base))
    return replay


def _pieces(in_force: Mapping[int, Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Any]) -> Pieces:
    """[epoch, value] wherever the value is another than before."""
    pieces: Pieces = []
    for epoch, values in in_force.items():
        value = read(values)
        if not pieces or pieces[-1][1] != value:
            pieces.append([epoch, value])
    return pieces


def _setting(name: str, pieces: Pieces, in_force: Mapping[int, Mapping[str, Any]], base: Settings) -> dict[str, Any]:
    if name == TIED_RATIO:
        return {"schedule": {"inner_rate": _tied(pieces, in_force, base)}}
    section, _, setting = name.partition(".")
    if name in (RATE, INNER_RATE):
        return {section: {setting.removesuffix(".value"): _rate(pieces)}}
    return {section: {setting: pieces if len(pieces) > 1 else pieces[0][1]}}


def _rate(pieces: Pieces) -> dict[str, Any]:
    if len(pieces) == 1:
        return {"kind": "constant", "value": pieces[0][1]}
    return {"kind": "piecewise", "values": pieces}


def _tied(ratios: Pieces, in_force: Mapping[int, Mapping[str, Any]], base: Settings) -> dict[str, Any]:
    if len(ratios) == 1:
        return {"kind": "tied", "ratio": ratios[0][1]}
    rate = base.schedule.rate
    assert isinstance(rate, ConstantRate), "mutable() has seen to it"
    return _rate(_pieces(in_force, lambda values: values[TIED_RATIO] * values.get(RATE, rate.value)))
