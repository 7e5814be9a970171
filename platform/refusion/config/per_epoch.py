"""Settings that change with the epoch: a number, or values that hold once so many epochs have gone before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Discriminator, Tag

T = TypeVar("T")
Number = TypeVar("Number", int, float)

# Names of the two forms of a setting, which pydantic puts into an error's place.
NUMBER, PIECEWISE = "number", "piecewise"


def read_piecewise(given: Any) -> Any:
    """Reads both written forms, ``{epoch: value, …}`` in any order and ``[[epoch, value], …]``, as rising pairs.

    Raises:
        ValueError: ``given`` has neither form, does not begin with epoch 0, or an epoch comes twice or too early.

    >>> read_piecewise({5: 64, 0: 32})
    ((0, 32), (5, 64))
    """
    pairs = [(_epoch(first), value) for first, value in _as_pairs(given)]
    epochs = [first for first, _ in pairs if first is not None]
    if len(epochs) != len(pairs):
        raise ValueError(
            "piecewise values are written {0: value, 5: value, …} or [[0, value], …], "
            "each number the epochs gone before"
        )
    if isinstance(given, Mapping):
        pairs.sort(key=lambda pair: pair[0] or 0)
        epochs.sort()
    if not epochs or epochs[0] != 0:
        raise ValueError("piecewise values must begin with 0, no epoch gone before")
    if epochs != sorted(set(epochs)):
        raise ValueError("the epochs of piecewise values must rise")
    return tuple(pairs)


def is_piecewise(given: object) -> bool:
    """Returns true for a plain value in piecewise form: a list, or a mapping whose keys are epochs."""
    if isinstance(given, Mapping):
        return bool(given) and all(_epoch(key) is not None for key in given)
    return isinstance(given, list | tuple)


def at(value: Number | tuple[tuple[int, Number], ...], epoch: int) -> Number:
    """Returns the number, or the piecewise value that holds in ``epoch`` (0-based).

    >>> at(((0, 32), (5, 64)), 7)
    64
    """
    if isinstance(value, tuple):
        return next(number for first, number in reversed(value) if first <= epoch)
    return value


def starts(*values: object) -> list[int]:
    """Returns the epochs at which any of the values changes, rising; always with epoch 0."""
    return sorted({0} | {first for value in values if isinstance(value, tuple) for first, _ in value})


def _epoch(given: object) -> int | None:
    """Reads an epoch as YAML or a command line gives it; None where it is none."""
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None


def _as_pairs(given: Any) -> list[tuple[Any, Any]]:
    """Returns (epoch, value) pairs of both forms, unchecked; (None, …) where it is neither form."""
    if isinstance(given, Mapping):
        return list(given.items())
    if isinstance(given, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in given):
        return [(first, value) for first, value in given]
    return [(None, given)]


def _form(given: object) -> str:
    return PIECEWISE if isinstance(given, Mapping | list | tuple) else NUMBER


# Stored as pairs: they can be hashed and compared, and survive JSON, whose mappings have no numbers as keys.
Piecewise = Annotated[tuple[tuple[int, T], ...], BeforeValidator(read_piecewise)]
# The form is told first, so that an error is about the form that was meant.
NumberOrPiecewise = Annotated[
    Annotated[T, Tag(NUMBER)] | Annotated[tuple[tuple[int, T], ...], BeforeValidator(read_piecewise), Tag(PIECEWISE)],
    Discriminator(_form),
]
