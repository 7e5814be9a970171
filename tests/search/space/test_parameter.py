from __future__ import annotations

import math
import random
from collections import Counter

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.errors import UserError
from refusion.search.space.parameter import Parameter

RATE = Parameter("schedule.rate.value", "float", 1e-4, 1e-1, log=True)
STEPS = Parameter("schedule.inner_steps", "int", 1, 5)
ODD = Parameter("schedule.inner_steps", "choice", choices=(1, {"start": 1, "end": 3}, [[0, 1], [4, 3]]))


def test_whole_numbers_are_drawn_evenly_and_to_both_ends() -> None:
    drawn = random.Random(0)
    counts = Counter(STEPS.draw(drawn) for _ in range(5000))
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert all(900 < count < 1100 for count in counts.values())


def test_a_logarithmic_range_is_drawn_evenly_over_magnitudes() -> None:
    drawn = random.Random(0)
    decades = Counter(math.floor(math.log10(RATE.draw(drawn))) for _ in range(3000))
    assert all(900 < decades[decade] < 1100 for decade in (-4, -3, -2))


def test_logarithmic_whole_numbers_prefer_the_small_ones_and_reach_both_ends() -> None:
    parameter = Parameter("images.batch", "int", 1, 16, log=True)
    drawn = random.Random(0)
    counts = Counter(parameter.draw(drawn) for _ in range(5000))
    assert sorted(counts) == list(range(1, 17))
    assert counts[1] > counts[4] > counts[16]


@given(st.floats(1e-4, 1e-1))
def test_unit_coordinates_go_there_and_back(value: float) -> None:
    unit = RATE.to_unit(value)
    assert -1e-12 <= unit <= 1 + 1e-12
    assert RATE.from_unit(unit) == pytest.approx(value, rel=1e-12)
    assert RATE.holds(RATE.from_unit(unit))


def test_unit_coordinates_are_logarithmic_rounded_and_clipped() -> None:
    assert RATE.to_unit(1e-1) == 1
    assert RATE.to_unit(1e-3) == pytest.approx(1 / 3)
    assert [STEPS.from_unit(STEPS.to_unit(steps)) for steps in range(1, 6)] == [1, 2, 3, 4, 5]
    assert STEPS.from_unit(0.6) == 3
    assert isinstance(STEPS.from_unit(0.6), int)
    assert (RATE.from_unit(-0.2), RATE.from_unit(1.7)) == (1e-4, 1e-1)


def test_choices_have_no_unit_coordinates() -> None:
    with pytest.raises(UserError, match=r"schedule\.inner_steps: has choices, but a range"):
        ODD.to_unit(1)


def test_what_a_grid_goes_through() -> None:
    assert list(STEPS.grid_values()) == [1, 2, 3, 4, 5]
    assert list(ODD.grid_values()) == list(ODD.choices)
    assert Parameter("x", "float", 1e-4, 1e-2, log=True, points=3).grid_values() == pytest.approx([1e-4, 1e-3, 1e-2])
    assert Parameter("x", "float", 0.0, 1.0, points=2).grid_values() == [0.0, 1.0]
    assert Parameter("x", "int", 1, 3, points=7).grid_values() == [1, 2, 3]
    with pytest.raises(UserError, match=r"schedule\.rate\.value: a grid needs `points: N`"):
        RATE.grid_values()


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (RATE, [1e-4, 0.1, 0.05], [0.2, "1e-3", None, True]),
        (STEPS, [1, 5], [0, 6, 2.0, True]),
        (ODD, [1, {"end": 3, "start": 1}], [2, {"start": 1}]),
    ],
)
def test_what_belongs_to_a_parameter(parameter: Parameter, inside: list[object], outside: list[object]) -> None:
    assert all(parameter.holds(value) for value in inside)
    assert not any(parameter.holds(value) for value in outside)
    for value in outside:
        with pytest.raises(UserError, match=r"lies outside the search space"):
            parameter.encoded(value)


def test_odd_choices_are_json_text_for_optuna() -> None:
    assert [ODD.encoded(choice) for choice in ODD.choices] == [1, '{"end": 3, "start": 1}', "[[0, 1], [4, 3]]"]
    assert tuple(ODD.decoded(ODD.encoded(choice)) for choice in ODD.choices) == ODD.choices
    distribution = ODD.distribution()
    assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
    assert list(distribution.choices) == [ODD.encoded(choice) for choice in ODD.choices]


@pytest.mark.parametrize("parameter", [RATE, STEPS, ODD, Parameter("x", "int", 1, 16, log=True)])
def test_optuna_suggests_from_the_same_distribution(parameter: Parameter) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        value = parameter.ask(trial)
        assert parameter.holds(value)
        assert trial.distributions == {parameter.name: parameter.distribution()}
        assert trial.params == {parameter.name: parameter.encoded(value)}
