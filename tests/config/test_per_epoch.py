from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from refusion.config.per_epoch import NumberOrPiecewise, at, is_piecewise, read_piecewise, starts

SIDE: TypeAdapter[Any] = TypeAdapter(NumberOrPiecewise[Annotated[int, Field(ge=8)]])


@pytest.mark.parametrize(
    "written",
    [
        {0: 8, 5: 16, 12: 9},
        {12: 9, 0: 8, 5: 16},
        {"0": 8, "12": 9, "5": 16},
        [[0, 8], [5, 16], [12, 9]],
        ((0, 8), (5, 16), (12, 9)),
    ],
)
def test_every_written_form_becomes_the_same_pairs(written: Any) -> None:
    assert is_piecewise(written)
    assert SIDE.validate_python(written) == ((0, 8), (5, 16), (12, 9))


def test_a_number_stays_a_number() -> None:
    assert SIDE.validate_python(8) == 8
    assert not is_piecewise(8)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ([], "must begin with 0, no epoch gone before"),
        ({}, "must begin with 0, no epoch gone before"),
        ({1: 8}, "must begin with 0, no epoch gone before"),
        ([[2, 8], [0, 8]], "must begin with 0, no epoch gone before"),
        ([[0, 8], [5, 9], [3, 9]], "must rise"),
        ([[0, 8], [0, 9]], "must rise"),
        ({0: 8, "0": 9}, "must rise"),
        ([8, 9], "piecewise values are written"),
        ([[0, 8, 9]], "piecewise values are written"),
        ({0: 8, "five": 9}, "piecewise values are written"),
        ([[0, 8], [1.5, 9]], "piecewise values are written"),
        ([[0, 8], [True, 9]], "piecewise values are written"),
        ([[0, 8], [-1, 9]], "piecewise values are written"),
        ("0: 8", "piecewise values are written"),
    ],
)
def test_what_is_not_piecewise_is_refused_with_the_reason(written: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_piecewise(written)


@pytest.mark.parametrize("written", [7, None, "many", {0: 8, 3: 7}, [[0, "many"]], [[0, None]]])
def test_every_value_obeys_the_numbers_own_rule(written: Any) -> None:
    with pytest.raises(ValidationError):
        SIDE.validate_python(written)


def test_a_value_holds_from_its_epoch_to_the_next() -> None:
    values = ((0, 1.0), (2, 0.5), (5, 2.0))
    assert [at(values, epoch) for epoch in range(7)] == [1.0, 1.0, 0.5, 0.5, 0.5, 2.0, 2.0]
    assert at(3, 99) == 3


@given(st.dictionaries(st.integers(1, 40), st.integers(), max_size=6), st.integers())
def test_looking_up_agrees_with_writing_every_epoch_down(later: dict[int, int], first: int) -> None:
    written = {0: first, **later}
    listed, value = [], first
    for epoch in range(45):
        value = written.get(epoch, value)
        listed.append(value)
    values = read_piecewise(written)
    assert [at(values, epoch) for epoch in range(45)] == listed
    assert starts(values) == sorted(written)


def test_starts_are_those_of_all_values() -> None:
    assert starts(1.0, ((0, 1), (5, 2)), ((0, 3), (2, 4), (5, 1)), None) == [0, 2, 5]
    assert starts(1.0) == [0]
