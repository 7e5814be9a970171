"""Number of a task's workers: one number, or a range within which it may change while the task trains."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_RANGE = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*")
_FORMS = "write a number, such as 2, or the least and the most, such as 2..8"


def read_workers(given: Any) -> int | str:
    """Reads a number of workers, or a range ``least..most``; a range of one number is that number.

    Raises:
        ValueError: it is neither, or its numbers are not 1 or more in this order.

    >>> read_workers("2"), read_workers("2 .. 8"), read_workers("4..4")
    (2, '2..8', 4)
    """
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ValueError(f"is no number of workers; {_FORMS}")
    if isinstance(given, int) or given.strip().lstrip("-").isdigit():
        if int(given) < 1:
            raise ValueError("must be at least 1")
        return int(given)
    found = _RANGE.fullmatch(given)
    if found is None:
        raise ValueError(f"is no number of workers; {_FORMS}")
    least, most = map(int, found.groups())
    if least < 1:
        raise ValueError("must begin with at least 1 worker")
    if least > most:
        raise ValueError(f"begins with more workers than it ends with; did you mean {most}..{least}?")
    return least if least == most else f"{least}..{most}"


Workers = Annotated[int | str, BeforeValidator(read_workers)]


def worker_counts(workers: int | str, batch: int) -> tuple[int, ...]:
    """Returns the numbers of workers that ``workers`` allows and that divide a global batch, ascending.

    >>> worker_counts("2..8", 8), worker_counts(3, 8)
    ((2, 4, 8), ())
    """
    least, _, most = str(workers).partition("..")
    return tuple(number for number in range(int(least), int(most or least) + 1) if batch % number == 0)


def is_range(workers: int | str) -> bool:
    """Tells if the number may change while a task trains."""
    return isinstance(workers, str)
