"""Settings of reading sources: the grammar of ``--range``, and the limit of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from refusion.config.arrangement import Arrangement
from refusion.errors import UserError

RangeKind = Literal["auto", "full", "data", "percentile", "fixed"]
Scope = Literal["picture", "pair", "folder"]

AUTO = "auto"
DEFAULT_MEGAPIXELS = 100.0
_KINDS: tuple[RangeKind, ...] = ("auto", "full", "data")
_SCOPES: tuple[Scope, ...] = ("picture", "pair", "folder")
_SIDES = ("a", "b")
RANGE_FORMS = "auto, full, data, percentile:LOW,HIGH or LOW,HIGH, with @picture, @pair or @folder"


@dataclass(frozen=True)
class RangeRule:
    """Rule by which the values of one source are mapped to 0–255.

    Attributes:
        kind: "auto" (``images.ranges`` says how), "full" (of the file's depth), "data" (least to greatest value),
            "percentile" or "fixed" (LOW,HIGH as stated).
        low, high: percentiles (0–100) or values, for the last two kinds.
        scope: pictures of which least value, greatest value and percentiles are taken; None: what the task asks for.
    """

    kind: RangeKind = "auto"
    low: float = 0.0
    high: float = 0.0
    scope: Scope | None = None


@dataclass(frozen=True)
class SourceRanges:
    """Rules of both sources."""

    a: RangeRule = RangeRule()
    b: RangeRule = RangeRule()

    def of(self, side: str) -> RangeRule:
        """Returns the rule of source "a" or "b"."""
        return self.a if side == "a" else self.b


@dataclass(frozen=True)
class Reading:
    """Settings of reading.

    Attributes:
        ranges: rule of each source.
        megapixels: pixels that a picture may have, in millions.
        arrangement: what the user says of the data set's layout.
    """

    ranges: SourceRanges = field(default_factory=SourceRanges)
    megapixels: float = DEFAULT_MEGAPIXELS
    arrangement: Arrangement = field(default_factory=Arrangement)


def parse_ranges(text: str) -> SourceRanges:
    """Reads the rules of both sources: one for both, or one each after ``a=`` and ``b=``, separated by blanks.

    Raises:
        UserError: a rule is none.

    Example:
        >>> parse_ranges("a=percentile:1,99@folder b=full").a
        RangeRule(kind='percentile', low=1.0, high=99.0, scope='folder')
        >>> parse_ranges("7000,7600").b.high
        7600.0
    """
    rules: dict[str, RangeRule] = {}
    for word in text.split():
        side, equals, rule = word.partition("=")
        sides = (side,) if equals else _SIDES
        if not set(sides) <= set(_SIDES):
            raise UserError(f"--range {word}: a rule is of a source, a=RULE or b=RULE")
        for name in sides:
            if name in rules:
                raise UserError(f"--range {text}: source {name} has two rules")
            rules[name] = _parse_rule(rule if equals else word)
    return SourceRanges(**rules)


def _parse_rule(text: str) -> RangeRule:
    body, at, scope = text.partition("@")
    found_scope = next((name for name in _SCOPES if name == scope), None)
    if at and found_scope is None:
        raise UserError(f"--range {text}: after @ comes {', '.join(_SCOPES)}")
    kind = next((name for name in _KINDS if name == body), None)
    if kind is not None:
        return RangeRule(kind, scope=found_scope)
    percentile = body.startswith("percentile:")
    try:
        low, high = (float(number) for number in body.removeprefix("percentile:").split(","))
    except ValueError:
        raise UserError(f"--range {text}: choose {RANGE_FORMS}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"--range {text}: LOW must be less than HIGH, both finite")
    if percentile and not 0 <= low < high <= 100:
        raise UserError(f"--range {text}: percentiles lie between 0 and 100")
    return RangeRule("percentile" if percentile else "fixed", low, high, found_scope)
