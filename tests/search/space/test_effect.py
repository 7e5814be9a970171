from __future__ import annotations

from typing import Any

import pytest

from refusion.config.layers import check
from refusion.search.space.effect import never_reached, without_effect
from refusion.search.space.space import Space


def useless(epochs: int, space: dict[str, Any], **base: Any) -> list[str]:
    settings = check([{"schedule": {"epochs": epochs, "rate": {"kind": "step", "value": 1e-4}}, **base}])
    return without_effect(Space.read(space), settings)


INNER_STEPS = {f"schedule.inner_steps.{epoch}": {"low": 1, "high": 5} for epoch in (0, 3, 8)}


@pytest.mark.parametrize(
    ("epochs", "names"),
    [
        (9, []),
        (8, ["schedule.inner_steps.8"]),
        (3, ["schedule.inner_steps.3", "schedule.inner_steps.8"]),
    ],
)
def test_values_from_an_epoch_on_that_never_comes(epochs: int, names: list[str]) -> None:
    assert sorted(useless(epochs, INNER_STEPS)) == names


def test_a_step_of_the_rate_after_the_last_epoch() -> None:
    space = {"schedule.rate.every": {"low": 4, "high": 9}, "schedule.rate.value": [1e-3, 1e-4]}
    assert useless(4, space) == ["schedule.rate.every"]
    assert useless(5, space) == []


def test_a_ramp_over_one_epoch() -> None:
    space = {"objective.beta_ramp": ["linear", "constant"]}
    assert useless(1, space) == ["objective.beta_ramp"]
    assert useless(2, space) == []


def test_what_decides_on_others_and_single_values_are_not_called_useless() -> None:
    space = {
        "_steps": ["one", "more"],
        "schedule.inner_steps": {"low": 1, "high": 5, "when": {"_steps": "one"}},
        "objective.alpha": [1.0],
        "network.width": [8, 16],
    }
    assert useless(1, space) == []


def test_base_settings_for_epochs_that_never_come() -> None:
    base = {"images": {"crop": {0: 32, 3: 48}}, "validation": {"images": {0: 3, 8: 5}}, "outer": {"ratio": {0: 0.5}}}
    shown = ["images.crop {0: 32, 3: 48}", "validation.images {0: 3, 8: 5}"]
    assert never_reached(check([{**base, "schedule": {"epochs": 3}}])) == shown
    assert never_reached(check([{**base, "schedule": {"epochs": 8}}])) == shown[1:]
    assert never_reached(check([{**base, "schedule": {"epochs": 9}}])) == []
    rate = {"kind": "piecewise", "values": {0: 1e-3, 5: 1e-4}}
    assert never_reached(check([{"schedule": {"epochs": 5, "rate": rate}}])) == [
        "schedule.rate.values {0: 0.001, 5: 0.0001}"
    ]
