"""A short fuzzing of the reader; tests/support/pictures/fuzz.py goes on for as long as one likes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pictures.fuzz import damaged, read, whole_files


def test_whole_files_are_read() -> None:
    assert {read(data) for data in whole_files()} <= {"read", "refused"}
    assert sum(read(data) == "read" for data in whole_files()) == len(whole_files())


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(damaged() | st.binary(max_size=400))
def test_a_damaged_file_is_read_or_refused(data: bytes) -> None:
    assert read(data) in ("read", "refused")
