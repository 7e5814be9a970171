from __future__ import annotations

import math

import pytest
from step_measuring import Size, medians_in_turn, outcome, ratio, shown


def test_calls_take_turns_and_the_first_turn_warms_up() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: (order.append(name), len(order))[1] for name in "ab"}
    said: list[str] = []
    seconds, first = medians_in_turn(calls, 2, "cpu", said.append)
    assert order == list("ababab")
    assert first == {"a": 1, "b": 2}
    assert set(seconds) == {"a", "b"}
    assert all(spent >= 0 for spent in seconds.values())
    assert said[-1] == "turn 2 of 2: b"


@pytest.mark.parametrize(
    ("measured", "target", "at_most", "expected"),
    [
        (4.0, 4.0, False, "target at least 4: met"),
        (3.25, 4.0, False, "target at least 4: missed by 0.75"),
        (0.25, 1 / 3, True, "target at most 0.333: met"),
        (0.4, 0.3, True, "target at most 0.3: missed by 0.1"),
        (math.nan, 4.0, False, "target at least 4: not measured"),
        (math.nan, 0.3, True, "target at most 0.3: not measured"),
    ],
)
def test_an_outcome_follows_from_the_numbers(measured: float, target: float, at_most: bool, expected: str) -> None:
    assert outcome(measured, target, at_most=at_most) == expected


def test_what_is_missing_stays_missing() -> None:
    assert ratio(6.0, 3.0) == 2.0
    assert math.isnan(ratio(6.0, 0.0))
    assert math.isnan(ratio(6.0, math.nan))
    assert math.isnan(ratio(math.nan, 3.0))
    assert shown(math.nan, ".2f") == "–"
    assert shown(1 / 3, ".2f") == "0.33"


def test_a_size_in_words() -> None:
    assert str(Size(3, 4, 96, 16)) == "K = 3, batch 4, 96×96, width 16"
