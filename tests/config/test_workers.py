from __future__ import annotations

from typing import Any

import pytest

from refusion.config.layers import check
from refusion.config.workers import is_range, read_workers, worker_counts
from refusion.errors import UserError


@pytest.mark.parametrize(
    ("given", "read"), [(3, 3), ("3", 3), (" 2..8 ", "2..8"), ("2 .. 8", "2..8"), ("4..4", 4), ("02..10", "2..10")]
)
def test_a_number_or_a_range_is_read(given: Any, read: int | str) -> None:
    assert read_workers(given) == read
    assert is_range(read_workers(given)) == isinstance(read, str)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (0, "--workers: must be at least 1 (it is 0)"),
        ("-2", "--workers: must be at least 1 (it is '-2')"),
        ("0..2", "--workers: must begin with at least 1 worker (it is '0..2')"),
        ("8..2", "--workers: begins with more workers than it ends with; did you mean 2..8? (it is '8..2')"),
        (
            "2-8",
            "--workers: is no number of workers; write a number, such as 2, or the least and the most, such as 2..8",
        ),
        ("2..", "--workers: is no number of workers"),
        (2.5, "--workers: is no number of workers"),
        (True, "--workers: is no number of workers"),
    ],
)
def test_what_is_no_number_of_workers_is_refused_in_a_sentence(given: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        check([{"workers": given, "images": {"batch": 8}}])
    assert str(caught.value).startswith(says)


def test_the_numbers_of_a_range_divide_the_batch() -> None:
    assert worker_counts("1..6", 6) == (1, 2, 3, 6)
    settings = check([{"workers": "2..8", "images": {"batch": 12}}])
    assert (settings.workers, settings.worker_counts) == ("2..8", (2, 3, 4, 6))
    assert check([settings.model_dump(mode="json")]) == settings
    with pytest.raises(UserError, match=r"^images\.batch \(8\) must be a multiple of one of the numbers of workers in"):
        check([{"workers": "5..7", "images": {"batch": 8}}])
