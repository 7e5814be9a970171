"""Parameters that change nothing in trials of a given length, such as a step of the rate after the last epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from refusion.config.layers import check
from refusion.config.per_epoch import at, starts
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.space.space import Space

_SAMPLES = 12
# Within an epoch rates are looked at so often.
_PARTS = 4
_PER_EPOCH = {
    "schedule": {"rate", "inner_rate", "inner_steps"},
    "outer": {"ratio"},
    "objective": {"alpha", "beta", "beta_ramp"},
    "images": {"crop", "subset"},
}


def without_effect(space: Space, base: Settings) -> list[str]:
    """Returns the parameters of which no value changes what a trial of ``base.schedule.epochs`` computes.

    Switches, and parameters on which conditions of others rest, are left out.
    """
    parents = {name for parameter in space.parameters for name, _ in parameter.when}
    names = [p.name for p in space.parameters if p.name not in parents and not p.name.startswith("_")]
    return [name for name in names if not _has_effect(space, base, name)]


def never_reached(base: Settings) -> list[str]:
    """Returns the settings with values for epochs that trials of ``base.schedule.epochs`` do not have.

    >>> never_reached(check([{"schedule": {"epochs": 3}, "images": {"crop": {0: 32, 3: 48}}}]))
    ['images.crop {0: 32, 3: 48}']
    """
    found = []
    for name, value in _values(base):
        in_epochs = value if isinstance(value, tuple) and isinstance(next(iter(value), None), tuple) else ()
        if in_epochs and starts(in_epochs)[-1] >= base.schedule.epochs:
            found.append(f"{name} {{{', '.join(f'{epoch}: {one:g}' for epoch, one in in_epochs)}}}")
    return found


def _values(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _has_effect(space: Space, base: Settings, name: str) -> bool:
    parameter = space[name]
    first, *others = parameter.choices or parameter.range
    drawn = random.Random(name)
    compared = False
    for _ in range(_SAMPLES):
        values = space.sample_with(name, first, drawn)
        try:
            computed = [_computed(check([space.settings({**values, name: one})], base)) for one in (first, *others)]
        except UserError:
            continue
        compared = True
        if any(one != computed[0] for one in computed[1:]):
            return True
    # One value alone, and what was never valid in these samples, is not called useless.
    return not compared or not others


def _computed(settings: Settings) -> tuple[Any, ...]:
    """Returns all that decides what a training computes, per epoch where it may change."""
    schedule, objective = settings.schedule, settings.objective
    epochs = range(schedule.epochs)
    moments = [epoch + part / _PARTS for epoch in epochs for part in range(_PARTS)]
    subset = settings.images.subset
    return (
        [(schedule.rate_at(moment), schedule.inner_rate_at(moment)) for moment in moments],
        [
            (
                schedule.inner_steps_at(epoch),
                at(settings.outer.ratio, epoch),
                at(objective.alpha, epoch),
                objective.beta_at(epoch, schedule.epochs),
                at(settings.images.crop, epoch),
                None if subset is None else at(subset, epoch),
            )
            for epoch in epochs
        ],
        settings.model_dump(exclude=_PER_EPOCH),
    )
