from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.results.replay import Change, replayed
from refusion.search.space.space import Space

EPOCHS = 6
TIED = check([{"schedule": {"epochs": EPOCHS, "rate": {"kind": "constant", "value": 1e-3}}}])
OWN = check([{"schedule": {"inner_rate": 1e-2}}], TIED)
RANGES: dict[str, Any] = {
    "schedule.rate.value": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
    "schedule.inner_steps": {"low": 1, "high": 5},
    "objective.alpha": {"low": 0.25, "high": 4.0},
    "objective.beta": {"low": 0.25, "high": 4.0},
    "outer.ratio": {"low": 0.1, "high": 10.0},
}
RATIO: dict[str, Any] = {"schedule.inner_rate.ratio": {"low": 0.1, "high": 10.0, "log": True}}
VALUE: dict[str, Any] = {"schedule.inner_rate.value": {"low": 1.0e-4, "high": 1.0e-1, "log": True}}


def in_effect(settings: Settings, epoch: int) -> list[float]:
    """Values that training uses in that epoch; at the middle and the end of it too for the rates."""
    schedule, objective = settings.schedule, settings.objective
    positions = (epoch, epoch + 0.5, epoch + 0.999)
    return [
        *(schedule.rate_at(position) for position in positions),
        *(schedule.inner_rate_at(position) for position in positions),
        schedule.inner_steps_at(epoch),
        objective.beta_at(epoch, EPOCHS),
        constant_or_piecewise(objective.alpha, epoch),
        constant_or_piecewise(settings.outer.ratio, epoch),
    ]


def constant_or_piecewise(setting: Any, epoch: int) -> float:
    if isinstance(setting, tuple):
        return [value for start, value in setting if start <= epoch][-1]
    return float(setting)


@given(
    st.sampled_from([(TIED, RATIO), (OWN, VALUE), (TIED, {}), (OWN, {})]),
    st.integers(0, 2**20),
    st.lists(
        st.tuples(st.integers(1, EPOCHS + 1), st.sets(st.sampled_from(sorted(RANGES | RATIO | VALUE)))), max_size=5
    ),
)
def test_every_epoch_trains_with_the_values_that_the_trial_had(
    kind: tuple[Settings, dict[str, Any]], seed: int, moves: list[tuple[int, set[str]]]
) -> None:
    base, inner = kind
    space = Space.read({**RANGES, **inner})
    drawn = random.Random(seed)
    changes = [Change(0, space.sample(drawn))]
    for epoch, names in sorted(moves, key=lambda move: move[0]):
        fresh = space.sample(drawn)
        changes.append(
            Change(epoch, {name: fresh[name] if name in names else old for name, old in changes[-1].values.items()})
        )
    settings = check([replayed(space, base, changes)], base)
    for epoch in range(EPOCHS):
        then = [change for change in changes if change.epoch <= epoch][-1].values
        assert in_effect(settings, epoch) == in_effect(check([space.settings(then)], base), epoch)


def test_a_trial_that_never_changed_has_plain_settings() -> None:
    space = Space.read({**RANGES, **RATIO})
    values = {
        "schedule.rate.value": 2e-3,
        "schedule.inner_steps": 3,
        "objective.alpha": 1.5,
        "objective.beta": 0.5,
        "outer.ratio": 2.0,
        "schedule.inner_rate.ratio": 4.0,
    }
    changes = [Change(0, values), Change(2, dict(values)), Change(EPOCHS, {**values, "schedule.inner_steps": 5})]
    assert replayed(space, TIED, changes) == {
        "schedule": {
            "rate": {"kind": "constant", "value": 2e-3},
            "inner_steps": 3,
            "inner_rate": {"kind": "tied", "ratio": 4.0},
        },
        "objective": {"alpha": 1.5, "beta": 0.5},
        "outer": {"ratio": 2.0},
    }


def test_a_tied_inner_rate_becomes_piecewise_products() -> None:
    space = Space.read({"schedule.rate.value": {"low": 1e-4, "high": 1e-2}, **RATIO})
    keys = ("schedule.rate.value", "schedule.inner_rate.ratio")
    changes = [
        Change(epoch, dict(zip(keys, pair, strict=True)))
        for epoch, pair in [(0, (1e-3, 2.0)), (2, (2e-3, 2.0)), (3, (2e-3, 4.0)), (5, (4e-3, 2.0))]
    ]
    assert replayed(space, TIED, changes)["schedule"] == {
        "rate": {"kind": "piecewise", "values": [[0, 1e-3], [2, 2e-3], [5, 4e-3]]},
        "inner_rate": {"kind": "piecewise", "values": [[0, 2e-3], [2, 4e-3], [3, 8e-3]]},
    }


def test_a_ratio_alone_multiplies_the_rate_of_the_base() -> None:
    changes = [Change(0, {"schedule.inner_rate.ratio": 2.0}), Change(1, {"schedule.inner_rate.ratio": 3.0})]
    assert replayed(Space.read(RATIO), TIED, changes) == {
        "schedule": {"inner_rate": {"kind": "piecewise", "values": [[0, 2e-3], [1, 3e-3]]}}
    }


def test_the_last_change_of_an_epoch_counts() -> None:
    space = Space.read({"schedule.inner_steps": {"low": 1, "high": 5}})
    changes = [Change(epoch, {"schedule.inner_steps": steps}) for epoch, steps in [(0, 1), (0, 2), (3, 4), (3, 5)]]
    assert replayed(space, TIED, changes) == {"schedule": {"inner_steps": [[0, 2], [3, 5]]}}


@pytest.mark.parametrize("epochs", [[], [1], [0, 3, 2]])
def test_changes_that_make_no_history_are_refused(epochs: list[int]) -> None:
    space = Space.read({"schedule.inner_steps": [1, 2]})
    with pytest.raises(ValueError, match="must begin with epoch 0 and go forward"):
        replayed(space, TIED, [Change(epoch, {"schedule.inner_steps": 1}) for epoch in epochs])


def test_a_rate_that_moves_by_itself_cannot_be_replayed() -> None:
    space = Space.read({"schedule.rate.value": [1e-3, 1e-4]})
    with pytest.raises(UserError, match="must be constant without warm-up for PBT"):
        replayed(space, Settings(), [Change(0, {"schedule.rate.value": 1e-3})])
