from __future__ import annotations

import json
import random
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from refusion.config.layers import check
from refusion.config.schedules import LinearSteps, StepRate
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.space.space import Space

SPACE = Space.read(
    yaml.safe_load("""
schedule.rate.every: {low: 1, high: 5, when: {schedule.rate.kind: step}}
schedule.rate.kind: [constant, step, cosine]
schedule.rate.value: {low: 1.0e-4, high: 5.0e-3, log: true}
_steps: [constant, linear, piecewise]
schedule.inner_steps: {low: 1, high: 5, when: {_steps: constant}}
schedule.inner_steps.start: {low: 1, high: 5, when: {_steps: linear}}
schedule.inner_steps.end: {low: 1, high: 5, when: {_steps: linear}}
schedule.inner_steps.0: {low: 1, high: 5, when: {_steps: piecewise}}
schedule.inner_steps.4: {low: 1, high: 5, when: {_steps: piecewise}}
schedule.inner_rate: {choices: [{kind: tied, ratio: 2.0}, {kind: constant, value: 1.0e-3}]}
images.swap: [true, false]
""")
)
PIECEWISE: dict[str, Any] = {
    "schedule.rate.kind": "step",
    "schedule.rate.value": 1e-3,
    "_steps": "piecewise",
    "schedule.inner_rate": {"kind": "tied", "ratio": 2.0},
    "images.swap": False,
    "schedule.rate.every": 3,
    "schedule.inner_steps.0": 1,
    "schedule.inner_steps.4": 3,
}


@given(st.integers())
def test_samples_have_exactly_the_active_parameters(seed: int) -> None:
    values = SPACE.sample(random.Random(seed))
    assert SPACE.contains(values)
    assert ("schedule.rate.every" in values) == (values["schedule.rate.kind"] == "step")
    assert ("schedule.inner_steps" in values) == (values["_steps"] == "constant")
    assert ("schedule.inner_steps.4" in values) == (values["_steps"] == "piecewise")
    assert SPACE.sample(random.Random(seed)) == values


@given(st.integers())
def test_samples_survive_json(seed: int) -> None:
    values = SPACE.sample(random.Random(seed))
    assert json.loads(json.dumps(values)) == values


def test_the_space_survives_yaml() -> None:
    assert Space.read(yaml.safe_load(yaml.safe_dump(SPACE.plain()))) == SPACE
    assert [one.name for one in Space.read(dict(reversed(SPACE.plain().items()))).parameters] == [
        one.name for one in SPACE.parameters
    ]
    points = Space.read({"a": {"low": 0.5, "high": 2, "points": 3}, "_b": [[1], [2]]})
    assert Space.read(points.plain()) == points
    on_a_list = {"_b": [[1], [2]], "a": {"choices": [1, 2], "when": {"_b": [[1]]}}}
    assert Space.read(Space.read(on_a_list).plain()) == Space.read(on_a_list)


@pytest.mark.parametrize("name", [parameter.name for parameter in SPACE.parameters])
def test_a_sample_with_a_given_value_makes_the_parameter_active(name: str) -> None:
    value = list(SPACE[name].grid_values())[-1] if name != "schedule.rate.value" else 5e-3
    for seed in range(20):
        values = SPACE.sample_with(name, value, random.Random(seed))
        assert values[name] == value
        assert SPACE.contains(values)


def test_the_grid_has_every_combination_of_active_parameters_once() -> None:
    space = Space.read(
        {
            "schedule.rate.kind": ["constant", "step"],
            "schedule.rate.every": {"low": 1, "high": 3, "when": {"schedule.rate.kind": "step"}},
            "objective.alpha": {"low": 0.5, "high": 1.5, "points": 2},
        }
    )
    grid = space.grid()
    assert grid == [
        values
        for alpha in (0.5, 1.5)
        for values in (
            {"objective.alpha": alpha, "schedule.rate.kind": "constant"},
            {"objective.alpha": alpha, "schedule.rate.kind": "step", "schedule.rate.every": 1},
            {"objective.alpha": alpha, "schedule.rate.kind": "step", "schedule.rate.every": 2},
            {"objective.alpha": alpha, "schedule.rate.kind": "step", "schedule.rate.every": 3},
        )
    ]
    assert all(space.contains(values) for values in grid)


def test_a_grid_that_cannot_be_made_says_why() -> None:
    with pytest.raises(UserError, match=r"schedule\.rate\.value: a grid needs `points: N`"):
        SPACE.grid()
    with pytest.raises(UserError, match=r"b: with it the grid has 1000000000 combinations, more than 100000"):
        Space.read({"a": [1], "b": {"low": 1, "high": 10**9}}).grid()


def test_values_become_nested_settings() -> None:
    assert SPACE.settings(PIECEWISE) == {
        "schedule": {
            "rate": {"kind": "step", "value": 1e-3, "every": 3},
            "inner_rate": {"kind": "tied", "ratio": 2.0},
            "inner_steps": [[0, 1], [4, 3]],
        },
        "images": {"swap": False},
    }
    assert SPACE.settings({}) == {}


def test_piecewise_values_are_in_the_order_of_epochs() -> None:
    space = Space.read({f"schedule.inner_steps.{epoch}": {"low": 1, "high": 9} for epoch in (10, 9, 0)})
    values = {"schedule.inner_steps.10": 3, "schedule.inner_steps.9": 2, "schedule.inner_steps.0": 1}
    assert space.settings(values) == {"schedule": {"inner_steps": [[0, 1], [9, 2], [10, 3]]}}


def test_parts_are_laid_over_the_whole() -> None:
    space = Space.read(
        {
            "schedule.inner_rate.value": {"low": 0.1, "high": 0.2},
            "schedule.inner_rate": [{"kind": "step", "every": 2}],
        }
    )
    values = {"schedule.inner_rate.value": 0.15, "schedule.inner_rate": {"kind": "step", "every": 2}}
    assert space.settings(values) == {"schedule": {"inner_rate": {"kind": "step", "every": 2, "value": 0.15}}}


@pytest.mark.parametrize("steps", [2, {"start": 1, "end": 4}, [[0, 2], [3, 1]]])
def test_the_settings_are_valid_over_any_form_of_the_base(steps: Any) -> None:
    base = check([{"schedule": {"inner_steps": steps, "rate": {"kind": "cosine", "value": 1e-4}}}])
    settings = check([SPACE.settings(PIECEWISE)], base)
    assert settings.schedule.inner_steps == ((0, 1), (4, 3))
    assert settings.schedule.rate == StepRate(value=1e-3, every=3)
    linear = {"_steps": "linear", "schedule.inner_steps.start": 2, "schedule.inner_steps.end": 5}
    assert check([SPACE.settings(linear)], base).schedule.inner_steps == LinearSteps(start=2, end=5)


@pytest.mark.parametrize(
    "change",
    [
        {"schedule.rate.value": 1.0},
        {"schedule.rate.every": 2.5},
        {"schedule.inner_steps": 1},
        {"images.batch": 2},
        {"images.swap": "no"},
        {"schedule.rate.kind": "constant"},
    ],
)
def test_values_outside_the_space_are_seen(change: dict[str, Any]) -> None:
    assert SPACE.contains(PIECEWISE)
    assert not SPACE.contains({**PIECEWISE, **change})
    with pytest.raises(UserError, match="outside the search space"):
        SPACE.encoded({**PIECEWISE, **change})
    assert not SPACE.contains({name: value for name, value in PIECEWISE.items() if name not in change | {"_steps": 0}})


def test_optuna_knows_the_same_values() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        trial = study.ask()
        values = SPACE.ask(trial)
        assert SPACE.contains(values)
        assert trial.params == SPACE.encoded(values)
        assert trial.distributions == SPACE.distributions(values)
        again = optuna.trial.create_trial(
            params=SPACE.encoded(values), distributions=SPACE.distributions(values), value=0.5
        )
        assert SPACE.ask(optuna.trial.FixedTrial(again.params)) == values


def test_unit_coordinates_of_a_space_of_ranges() -> None:
    space = Space.read({"a": {"low": 1.0e-4, "high": 1.0e-2, "log": True}, "b": {"low": 1, "high": 5}})
    assert space.to_unit({"a": 1e-3, "b": 2}) == pytest.approx({"a": 0.5, "b": 0.25})
    assert space.from_unit({"a": 0.5, "b": 0.3}) == pytest.approx({"a": 1e-3, "b": 2})
    with pytest.raises(UserError, match=r"images\.swap: has choices, but a range"):
        SPACE.to_unit({"images.swap": True})


def test_an_empty_space_is_the_default_alone() -> None:
    space = Space.read({})
    assert space.sample(random.Random(0)) == {}
    assert space.grid() == [{}]
    assert check([space.settings({})]) == Settings()
