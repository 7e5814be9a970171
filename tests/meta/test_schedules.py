from __future__ import annotations

import math

import pytest

from refusion.config.settings import (
    ConstantRate,
    CosineRate,
    LinearSteps,
    ObjectiveSettings,
    PiecesRate,
    ScheduleSettings,
    StepRate,
    TiedRate,
)
from refusion.meta.schedules import beta_at, inner_rate_at, inner_steps_at, rate_at


def test_the_published_rate_is_divided_by_ten_every_ten_epochs() -> None:
    rate = ScheduleSettings().rate
    assert [rate_at(rate, epoch, 50) for epoch in (0, 9.99, 10, 25, 49)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-6, 1e-8]
    )


def test_a_cosine_goes_from_its_value_to_its_end() -> None:
    rate = CosineRate(value=1.0, end=0.2)
    assert rate_at(rate, 0, 10) == 1.0
    assert rate_at(rate, 5, 10) == pytest.approx(0.6)
    assert rate_at(rate, 2.5, 10) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate_at(rate, 10, 10) == pytest.approx(0.2)


def test_a_cosine_spans_what_the_warm_up_leaves() -> None:
    rate = CosineRate(value=1.0, warmup=2)
    assert rate_at(rate, 2, 10) == pytest.approx(1.0)
    assert rate_at(rate, 6, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("rate", [ConstantRate(value=2.0, warmup=4), StepRate(value=2.0, warmup=4, every=100)])
def test_the_warm_up_is_linear_from_a_tenth(rate: ConstantRate | StepRate) -> None:
    assert [rate_at(rate, position, 10) for position in (0, 1, 2, 4, 9)] == pytest.approx([0.2, 0.65, 1.1, 2.0, 2.0])


def test_pieces_of_a_rate_are_constant_inside_and_change_at_whole_epochs() -> None:
    rate = PiecesRate(values=((0, 1e-3), (2, 5e-4), (3, 7e-4)))
    assert [rate_at(rate, position, 5) for position in (0, 1.999, 2, 2.5, 3, 4.999)] == [
        1e-3,
        1e-3,
        5e-4,
        5e-4,
        7e-4,
        7e-4,
    ]


def test_an_inner_rate_in_pieces_follows_its_own_and_a_tied_one_those_of_the_rate() -> None:
    pieces = PiecesRate(values=((0, 1e-3), (2, 5e-4)))
    assert inner_rate_at(ScheduleSettings(rate=1e-4, inner_rate=pieces), 2.5) == 5e-4
    assert inner_rate_at(ScheduleSettings(rate=pieces, inner_rate=TiedRate(ratio=3.0)), 2.5) == 3.0 * 5e-4


def test_a_tied_inner_rate_follows_the_rate() -> None:
    schedule = ScheduleSettings(epochs=20, inner_rate=TiedRate(ratio=3.0))
    assert inner_rate_at(schedule, 12) == pytest.approx(3e-5)


def test_an_inner_rate_of_its_own_does_not() -> None:
    schedule = ScheduleSettings(epochs=20, inner_rate=ConstantRate(value=0.01))
    assert inner_rate_at(schedule, 12) == 0.01


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
    assert [inner_steps_at(schedule, epoch) for epoch in range(5)] == expected


def test_one_epoch_alone_takes_the_start() -> None:
    assert inner_steps_at(ScheduleSettings(epochs=1, inner_steps=LinearSteps(start=2, end=5)), 0) == 2


def test_beta_ramps_up_to_its_full_value() -> None:
    ramp = ObjectiveSettings(beta=2.0)
    assert [beta_at(ramp, epoch, 4) for epoch in range(4)] == [0.5, 1.0, 1.5, 2.0]
    assert beta_at(ObjectiveSettings(beta=2.0, beta_ramp="constant"), 0, 4) == 2.0


def test_beta_in_pieces_goes_on_ramping() -> None:
    pieces = ((0, 2.0), (2, 4.0))
    ramp, constant = (ObjectiveSettings(beta=pieces, beta_ramp=kind) for kind in ("linear", "constant"))
    assert [beta_at(ramp, epoch, 4) for epoch in range(4)] == [0.5, 1.0, 3.0, 4.0]
    assert [beta_at(constant, epoch, 4) for epoch in range(4)] == [2.0, 2.0, 4.0, 4.0]
