"""Range of a source: which of its values become black and white, found once and recorded with the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import RangeRule, Scope
from refusion.images.formats import Samples

Extent = tuple[float, float]

# Of an automatic range: a thousandth of the pixels may be dead, or hotter than all else.
_AUTO_LOW, _AUTO_HIGH = 0.1, 99.9
# Values that take up no more of their depth than this were not scaled to it: 14 bits in a file of 16 take a quarter.
_NARROW = 0.25
# An automatic range gives no count more than a grey level: less contrast than that is noise.
_LEAST_COUNTS = 255.0
_EIGHT_BITS = 255.0
_AT_ONCE = 1 << 22
# Two exposures or focal planes of one camera share a scale; two kinds of camera do not.
_ONE_CAMERA = {"MFIF", "MEIF"}
_UNSTATED = "have no agreed range: state it with --range LOW,HIGH, or ask for data or percentile:1,99"


class UnusableRangeError(ValueError):
    """Values that a rule gives no range for; the message is the rest of a sentence about the file."""


@dataclass(frozen=True)
class Extremes:
    """Statistics of a picture's values, all that a rule needs.

    Attributes:
        least, greatest: of all values.
        low, high: the rule's percentiles.
        full, window: as ``Samples`` has them.
        integer: True for whole numbers.
        narrow_type: True for 8-bit values, whose full range is never doubted.
        measured: as ``Samples`` has it.
    """

    least: float
    greatest: float
    low: float
    high: float
    full: Extent | None
    window: Extent | None
    integer: bool
    narrow_type: bool
    measured: bool = False


def measure(samples: Samples, rule: RangeRule) -> Extremes:
    """Returns the statistics of finite samples; ``rule`` says which percentiles are needed.

    >>> counts = Samples(np.arange(7000, 7256, dtype=np.uint16).reshape(16, 16), "", (0, 65535))
    >>> (found := measure(counts, RangeRule("data"))).least, found.greatest
    (7000.0, 7255.0)
    """
    values = samples.values
    percentiles = (rule.low, rule.high) if rule.kind == "percentile" else (_AUTO_LOW, _AUTO_HIGH)
    small = values.dtype == np.uint8
    least, greatest = float(values.min()), float(values.max())
    low, high = (least, greatest) if small and rule.kind != "percentile" else _percentiles(values, percentiles)
    integer = values.dtype.kind in "ui"
    return Extremes(least, greatest, low, high, samples.full, samples.window, integer, small, samples.measured)


def _percentiles(values: NDArray[Any], wanted: tuple[float, float]) -> tuple[float, float]:
    if values.dtype in (np.uint8, np.uint16):
        # By parts, since NumPy counts copies of eight bytes a value.
        flat, greatest = values.ravel(), np.iinfo(values.dtype).max
        parts = (flat[first : first + _AT_ONCE] for first in range(0, flat.size, _AT_ONCE))
        counts = np.cumsum(sum(np.bincount(part, minlength=greatest + 1) for part in parts))
        low, high = (int(np.searchsorted(counts, share / 100 * counts[-1], side="left")) for share in wanted)
        return float(low), float(min(high, len(counts) - 1))
    low, high = np.percentile(values, wanted)
    return float(low), float(high)


def scope_of(rule: RangeRule, task: str) -> Scope:
    """Returns the pictures that a rule looks at: the picture alone, or both of a pair that one camera took."""
    return rule.scope or ("pair" if rule.kind == "auto" and task in _ONE_CAMERA else "picture")


def joined(extremes: Sequence[Extremes]) -> Extremes:
    """Returns the statistics of several pictures together: the least of the lower, the greatest of the upper ones.

    Raises:
        ValueError: there is none.
    """
    least, low = (min(getattr(one, name) for one in extremes) for name in ("least", "low"))
    greatest, high = (max(getattr(one, name) for one in extremes) for name in ("greatest", "high"))
    return replace(extremes[0], least=least, greatest=greatest, low=low, high=high)


def find_extent(rule: RangeRule, of: Extremes, together: Extremes) -> Extent | None:
    """Returns black and white of a picture, or None where they are those of its own depth.

    The rule "auto" takes the window that a file names, else the full range of its depth, unless its integers of more
    than 8 bits lie within a quarter of that: then the percentiles 0.1 to 99.9, at least 255 counts apart; values of up
    to 255 in a deeper file are 8-bit ones. Medical measurements without a window span those percentiles.

    Args:
        rule: of this source.
        of: statistics of the picture.
        together: those of all pictures in the rule's scope, ``joined``; this one is among them.

    Raises:
        UnusableRangeError: the file has no agreed range, or floats lie outside of 0 to 1.

    >>> raw = Extremes(7000, 7600, 7010, 7590, (0, 65535), None, True, False)
    >>> find_extent(RangeRule(), raw, raw), find_extent(RangeRule("full"), raw, raw)
    ((7010.0, 7590.0), None)
    """
    if rule.kind == "fixed":
        return rule.low, rule.high
    low, high = together.low, together.high
    if rule.kind == "data":
        return _apart(together.least, together.greatest)
    if rule.kind == "percentile":
        return _apart(low, high)
    if rule.kind == "auto" and of.window is not None:
        return of.window
    if rule.kind == "auto" and of.measured and not of.narrow_type:
        return _apart(low, high)
    if of.full is None:
        raise UnusableRangeError(f"holds values from {of.least:g} to {of.greatest:g}, which {_UNSTATED}")
    if not of.integer and not (of.full[0] <= of.least and of.greatest <= of.full[1]):
        raise UnusableRangeError(f"holds floats from {of.least:g} to {of.greatest:g}, which {_UNSTATED}")
    if rule.kind == "full" or of.narrow_type or not of.integer:
        return None
    if together.greatest <= _EIGHT_BITS:
        return 0.0, _EIGHT_BITS
    if high - low > _NARROW * (of.full[1] - of.full[0]):
        return None
    lacking = max(0.0, _LEAST_COUNTS - (high - low))
    return low - lacking / 2, high + lacking / 2


def _apart(low: float, high: float) -> Extent:
    """Returns the two, a constant picture's so that it becomes black."""
    return (low, high) if low < high else (low, low + 1)


def to_grey_levels(samples: Samples, extent: Extent | None) -> NDArray[np.float32]:
    """Returns the values mapped to 0–255, float32, clipped where they lie beyond ``extent``.

    8-bit values come out exactly, 16-bit values of the full range divided by 257.

    Raises:
        UnusableRangeError: there is no extent and the file's kind has none.
    """
    values = samples.values
    if extent is None:
        if samples.full is None:
            raise UnusableRangeError(f"holds values of the kind {samples.about}, which {_UNSTATED}")
        if values.dtype == np.uint8:
            return values.astype(np.float32)
        if samples.full == (0.0, 65535.0):
            return values.astype(np.float32) / np.float32(257)
        extent = samples.full
    low, high = extent
    # Up to 16 bits and floats of 32 are exact enough; others would lose their last digits.
    exact = np.dtype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    unit: NDArray[Any] = (values.astype(exact) - exact.type(low)) / exact.type(high - low)
    return np.asarray(np.clip(unit, 0, 1) * exact.type(255), np.float32)
