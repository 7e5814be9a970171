from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.config.objective import ObjectiveSettings
from refusion.config.schedules import (
    ConstantRate,
    CosineRate,
    InnerRate,
    LinearSteps,
    PiecewiseRate,
    Rate,
    RateSchedule,
    StepRate,
    TiedRate,
    kinds,
    shared_settings,
)
from refusion.config.settings import ScheduleSettings


def test_the_published_rate_is_divided_by_ten_every_ten_epochs() -> None:
    rate = StepRate(value=1e-4)
    assert [rate.at(epoch, 50) for epoch in (0, 9.99, 10, 25, 49)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6, 1e-8])


def test_a_cosine_goes_from_its_value_to_its_end() -> None:
    rate = CosineRate(value=1.0, end=0.2)
    assert rate.at(0, 10) == 1.0
    assert rate.at(5, 10) == pytest.approx(0.6)
    assert rate.at(2.5, 10) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate.at(10, 10) == pytest.approx(0.2)


def test_a_cosine_spans_what_the_warm_up_leaves() -> None:
    rate = CosineRate(value=1.0, warmup=2)
    assert rate.at(2, 10) == pytest.approx(1.0)
    assert rate.at(6, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("rate", [ConstantRate(value=2.0, warmup=4), StepRate(value=2.0, warmup=4, every=100)])
def test_the_warm_up_is_linear_from_a_tenth(rate: ConstantRate | StepRate) -> None:
    assert [rate.at(position, 10) for position in (0, 1, 2, 4, 9)] == pytest.approx([0.2, 0.65, 1.1, 2.0, 2.0])


def test_a_piecewise_rate_changes_at_whole_epochs_and_is_constant_between() -> None:
    rate = PiecewiseRate(values=((0, 1e-3), (2, 5e-4), (3, 7e-4)))
    assert [rate.at(position, 5) for position in (0, 1.999, 2, 2.5, 3, 4.999)] == [
        1e-3,
        1e-3,
        5e-4,
        5e-4,
        7e-4,
        7e-4,
    ]


def test_a_piecewise_inner_rate_follows_its_own_values_and_a_tied_one_those_of_the_rate() -> None:
    values = PiecewiseRate(values=((0, 1e-3), (2, 5e-4)))
    assert ScheduleSettings(rate=1e-4, inner_rate=values).inner_rate_at(2.5) == 5e-4
    assert ScheduleSettings(rate=values, inner_rate=TiedRate(ratio=3.0)).inner_rate_at(2.5) == 3.0 * 5e-4


def test_a_tied_inner_rate_follows_the_rate() -> None:
    schedule = ScheduleSettings(epochs=20, rate=StepRate(value=1e-4), inner_rate=TiedRate(ratio=3.0))
    assert schedule.inner_rate_at(12) == pytest.approx(3e-5)


def test_an_inner_rate_of_its_own_does_not() -> None:
    schedule = ScheduleSettings(epochs=20, inner_rate=ConstantRate(value=0.01))
    assert schedule.inner_rate_at(12) == 0.01


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (2, [2, 2, 2, 2, 2]),
        (((0, 1), (2, 3), (4, 2)), [1, 1, 3, 3, 2]),
        (LinearSteps(start=1, end=3), [1, 2, 2, 3, 3]),
        (LinearSteps(start=3, end=1), [3, 3, 2, 2, 1]),
    ],
)
def test_inner_steps_over_the_epochs(steps: int | LinearSteps, expected: list[int]) -> None:
    schedule = ScheduleSettings(epochs=5, inner_steps=steps)
    assert [schedule.inner_steps_at(epoch) for epoch in range(5)] == expected


def test_one_epoch_alone_takes_the_start() -> None:
    assert ScheduleSettings(epochs=1, inner_steps=LinearSteps(start=2, end=5)).inner_steps_at(0) == 2


def test_beta_ramps_up_to_its_full_value() -> None:
    ramp = ObjectiveSettings(beta=2.0, beta_ramp="linear")
    assert [ramp.beta_at(epoch, 4) for epoch in range(4)] == [0.5, 1.0, 1.5, 2.0]
    assert ObjectiveSettings(beta=2.0, beta_ramp="constant").beta_at(0, 4) == 2.0


def test_a_piecewise_beta_goes_on_ramping() -> None:
    values = ((0, 2.0), (2, 4.0))
    ramp, constant = (ObjectiveSettings(beta=values, beta_ramp=kind) for kind in ("linear", "constant"))
    assert [ramp.beta_at(epoch, 4) for epoch in range(4)] == [0.5, 1.0, 3.0, 4.0]
    assert [constant.beta_at(epoch, 4) for epoch in range(4)] == [2.0, 2.0, 4.0, 4.0]


def test_each_kind_of_rate_is_a_class_with_a_formula() -> None:
    assert list(kinds(Rate)) == ["constant", "step", "cosine", "piecewise"]
    assert list(kinds(InnerRate)) == ["tied", *kinds(Rate)]
    assert all(issubclass(rate, RateSchedule) for rate in kinds(Rate).values())


def test_a_schedule_without_a_formula_cannot_be_made() -> None:
    class Unfinished(RateSchedule):
        kind: str = "unfinished"

    with pytest.raises(TypeError, match="at"):
        Unfinished()


@given(
    st.sampled_from(["constant", "step", "cosine"]),
    st.floats(1e-8, 1e3),
    st.floats(0, 20),
    st.integers(1, 40),
    st.floats(0, 1, exclude_max=True),
)
def test_a_rate_never_leaves_the_range_that_its_settings_span(
    kind: str, value: float, warmup: float, epochs: int, share: float
) -> None:
    rate = ScheduleSettings.model_validate({"rate": {"kind": kind, "value": value, "warmup": warmup}}).rate
    assert 0 <= rate.at(share * epochs, epochs) <= value * (1 + 1e-12)


@pytest.mark.parametrize("one", kinds(InnerRate))
@pytest.mark.parametrize("other", kinds(InnerRate))
def test_kinds_with_a_value_share_it_and_its_warm_up_and_others_nothing(one: str, other: str) -> None:
    expected = {"value", "warmup"} if {one, other} <= {"constant", "step", "cosine"} else set()
    if one != other:
        assert shared_settings(one, other) == expected
    assert shared_settings(one, "unknown") == shared_settings(None, other) == set()
