"""Settings that change with the epoch: a number, or pieces that each hold from their epoch on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Discriminator, Tag

T = TypeVar("T")
Number = TypeVar("Number", int, float)

NUMBER, PIECES = "number", "pieces"


def read_pieces(given: Any) -> Any:
    """Both written forms, ``{epoch: value, …}`` in any order and ``[[epoch, value], …]``, as pairs of rising epochs.

    Raises:
        ValueError: these are no pieces, they do not begin with epoch 0, or an epoch comes twice or too early.
    """
    pairs = [(_epoch(first), value) for first, value in _as_pairs(given)]
    epochs = [first for first, _ in pairs if first is not None]
    if len(epochs) != len(pairs):
        raise ValueError("pieces are written {epoch: value, …} or [[epoch, value], …], each epoch a whole number")
    if isinstance(given, Mapping):
        pairs.sort(key=lambda pair: pair[0] or 0)
        epochs.sort()
    if not epochs or epochs[0] != 0:
        raise ValueError("the pieces must begin with epoch 0")
    if epochs != sorted(set(epochs)):
        raise ValueError("the epochs of the pieces must rise")
    return tuple(pairs)


def are_pieces(given: object) -> bool:
    """Whether a plain value is written as pieces: a list, or a mapping whose keys are epochs."""
    if isinstance(given, Mapping):
        return bool(given) and all(_epoch(key) is not None for key in given)
    return isinstance(given, list | tuple)


def at(value: Number | tuple[tuple[int, Number], ...], epoch: int) -> Number:
    """The number, or the value of the piece that ``epoch`` (0-based) lies in."""
    if isinstance(value, tuple):
        return next(piece for first, piece in reversed(value) if first <= epoch)
    return value


def starts(*values: object) -> list[int]:
    """The epochs at which any of the values changes, rising; always with epoch 0."""
    return sorted({0} | {first for value in values if isinstance(value, tuple) for first, _ in value})


def _epoch(given: object) -> int | None:
    """An epoch as YAML or a command line gives it; None where it is none."""
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None


def _as_pairs(given: Any) -> list[tuple[Any, Any]]:
    """(epoch, value) of both forms, neither of them looked at; (None, …) where it is neither form."""
    if isinstance(given, Mapping):
        return list(given.items())
    if isinstance(given, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in given):
        return [(first, value) for first, value in given]
    return [(None, given)]


def _form(given: object) -> str:
    return PIECES if isinstance(given, Mapping | list | tuple) else NUMBER


# Stored as pairs: they can be hashed and compared, and survive JSON, whose mappings have no numbers as keys.
Pieces = Annotated[tuple[tuple[int, T], ...], BeforeValidator(read_pieces)]
# The form is told first, so that an error is about the form that was meant.
NumberOrPieces = Annotated[
    Annotated[T, Tag(NUMBER)] | Annotated[tuple[tuple[int, T], ...], BeforeValidator(read_pieces), Tag(PIECES)],
    Discriminator(_form),
]
