"""Arrangement of a data set's pictures, as the command line says it: names of the sources, and shares of splits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from refusion.errors import UserError

Division = tuple[tuple[str, float], ...]
"""Splits and their shares, which sum to 1."""

DEFAULT_DIVISION: Division = (("train", 0.8), ("val", 0.2))
_SPLITS = ("train", "val", "test")
_TOLERANCE = 0.005


@dataclass(frozen=True)
class Arrangement:
    """Words of the user on a data set's layout; nothing by default.

    Attributes:
        names: folders, or parts of names, of a and b.
        division: splits to divide into.
        whole: a data set without splits is taken whole where val is asked for.
    """

    names: tuple[str, str] | None = None
    division: Division | None = None
    whole: bool = False


def parse_names(text: str) -> tuple[str, str]:
    """Reads `a=ir,b=vis`.

    Raises:
        UserError: it is something else.

    >>> parse_names("b=vis, a=ir")
    ('ir', 'vis')
    """
    said = dict(part.split("=", 1) for part in re.split(r"\s*,\s*", text.strip()) if "=" in part)
    names = {key.strip().lower(): value.strip().strip("/") for key, value in said.items()}
    if set(names) != {"a", "b"} or not all(names.values()) or names["a"].lower() == names["b"].lower():
        raise UserError(f"--map {text}: name the folders, or parts of names, of both sources, such as --map a=ir,b=vis")
    return names["a"], names["b"]


def parse_division(text: str) -> Division:
    """Reads `train=80%,val=20%`; shares without a percent sign are relative.

    Raises:
        UserError: it is something else, or the shares do not sum to 100 %.

    >>> parse_division("train=80%,val=20%")
    (('train', 0.8), ('val', 0.2))
    """
    form = "write shares of train, val and test that sum to 100 %, such as --split train=80%,val=20%"
    shares: dict[str, float] = {}
    for part in re.split(r"\s*,\s*", text.strip()):
        match = re.fullmatch(r"(\w+)\s*=\s*(\d+(?:\.\d+)?)\s*%?", part)
        if match is None or match[1].lower() not in _SPLITS or match[1].lower() in shares or float(match[2]) <= 0:
            raise UserError(f"--split {text}: {form}")
        shares[match[1].lower()] = float(match[2])
    whole = 100.0 if "%" in text or sum(shares.values()) > 1 + _TOLERANCE else 1.0
    if abs(sum(shares.values()) - whole) > _TOLERANCE * whole or len(shares) < 2:
        raise UserError(f"--split {text}: {form}")
    return tuple((split, share / sum(shares.values())) for split, share in shares.items())


def arrangement_of(names: str | None, division: str | None, *, whole: bool = False) -> Arrangement:
    """Returns what `--map` and `--split` say.

    Raises:
        UserError: one of them cannot be read.
    """
    return Arrangement(parse_names(names) if names else None, parse_division(division) if division else None, whole)
