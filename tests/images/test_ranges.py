from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refusion.config.ranges import RangeRule
from refusion.images.formats import Samples
from refusion.images.ranges import (
    Extent,
    Extremes,
    UnusableRangeError,
    find_extent,
    joined,
    measure,
    scope_of,
    to_grey_levels,
)

RNG = np.random.default_rng(1)
DEEP = (0.0, 65535.0)


def _samples(values: Any, full: Extent | None = DEEP, **more: Any) -> Samples:
    return Samples(np.asarray(values), "made here", full, **more)


def _extent(samples: Samples, rule: RangeRule) -> Extent | None:
    extremes = measure(samples, rule)
    return find_extent(rule, extremes, extremes)


def test_raw_counts_look_as_their_eight_bit_rendering_does() -> None:
    picture = RNG.integers(0, 256, (200, 300), dtype=np.uint8)
    picture[:2, :5] = 0, 255, 0, 255, 0
    for offset, gain in ((7000, 2), (27315, 4), (0, 60)):
        counts = (picture.astype(np.uint16) * gain + offset).astype(np.uint16)
        # A dead and a hot pixel, as detectors have them.
        counts[100, 100], counts[50, 50] = 0, 65535
        samples = _samples(counts)
        shown = to_grey_levels(samples, _extent(samples, RangeRule()))
        differs = np.abs(shown - picture)
        differs[100, 100] = differs[50, 50] = 0
        assert differs.max() <= 1


def test_a_wide_range_stays_that_of_its_depth() -> None:
    for values in (RNG.integers(0, 65536, (50, 60)), RNG.integers(9000, 30000, (50, 60))):
        samples = _samples(values.astype(np.uint16))
        assert _extent(samples, RangeRule()) is None
        np.testing.assert_array_equal(to_grey_levels(samples, None), values.astype(np.float32) / np.float32(257))


def test_the_noise_of_a_flat_raw_picture_is_not_blown_up() -> None:
    samples = _samples(RNG.integers(7000, 7005, (50, 60)).astype(np.uint16))
    shown = to_grey_levels(samples, _extent(samples, RangeRule()))
    assert np.ptp(shown) == pytest.approx(4, abs=1e-3)


def test_eight_bits_in_sixteen_are_eight() -> None:
    values = RNG.integers(0, 256, (50, 60))
    samples = _samples(values.astype(np.uint16))
    np.testing.assert_array_equal(to_grey_levels(samples, _extent(samples, RangeRule())), values)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RangeRule("full"), None),
        (RangeRule("data"), (7000, 7999)),
        (RangeRule("percentile", 10, 90), (7099, 7899)),
        (RangeRule("fixed", -5, 9000), (-5, 9000)),
    ],
)
def test_a_rule_is_followed(rule: RangeRule, expected: Extent | None) -> None:
    assert _extent(_samples(np.arange(7000, 8000, dtype=np.uint16).reshape(20, 50)), rule) == expected


def test_values_beyond_the_range_are_clipped() -> None:
    shown = to_grey_levels(_samples(np.array([[-5, 0, 5, 10, 99]], np.int32), None), (0, 10))
    assert shown.tolist() == [[0, 0, 127.5, 255, 255]]


def test_a_constant_picture_has_a_range() -> None:
    for rule in (RangeRule("data"), RangeRule("percentile", 1, 99)):
        samples = _samples(np.full((4, 4), 7000, np.uint16))
        assert to_grey_levels(samples, _extent(samples, rule)).max() == 0


def test_floats_and_signed_values_need_a_statement() -> None:
    kelvin = _samples(np.linspace(280, 320, 64, dtype=np.float32).reshape(8, 8), (0.0, 1.0))
    with pytest.raises(UnusableRangeError, match=r"holds floats from 280 to 320, .*--range LOW,HIGH"):
        _extent(kelvin, RangeRule())
    assert to_grey_levels(kelvin, (280, 320))[-1, -1] == 255
    signed = _samples(np.array([[-3, 4]], np.int16), None)
    for rule in (RangeRule(), RangeRule("full")):
        with pytest.raises(UnusableRangeError, match="holds values from -3 to 4"):
            _extent(signed, rule)
    with pytest.raises(UnusableRangeError, match="made here"):
        to_grey_levels(signed, None)


def test_a_window_comes_first_unless_a_rule_is_given() -> None:
    slice_ = _samples(np.array([[-1000, 0, 400]], np.int16), None, window=(-160.0, 240.0), measured=True)
    assert _extent(slice_, RangeRule()) == (-160, 240)
    assert _extent(slice_, RangeRule("data")) == (-1000, 400)


def test_exposures_share_a_range_and_keep_their_order() -> None:
    dark = _samples(RNG.integers(0, 500, (40, 40)).astype(np.uint16))
    bright = _samples(RNG.integers(1000, 4096, (40, 40)).astype(np.uint16))
    both = [measure(one, RangeRule()) for one in (dark, bright)]
    extents = {find_extent(RangeRule(), one, joined(both)) for one in both}
    assert len(extents) == 1
    low, high = extents.pop() or (0, 0)
    assert low <= 2
    assert 4000 < high < 4096


@pytest.mark.parametrize(
    ("rule", "task", "scope"),
    [
        (RangeRule(), "IVIF", "picture"),
        (RangeRule(), "MIF", "picture"),
        (RangeRule(), "MEIF", "pair"),
        (RangeRule(), "MFIF", "pair"),
        (RangeRule("data"), "MEIF", "picture"),
        (RangeRule("data", scope="folder"), "MEIF", "folder"),
    ],
)
def test_the_scope_follows_the_task(rule: RangeRule, task: str, scope: str) -> None:
    assert scope_of(rule, task) == scope


def test_joined_is_the_widest() -> None:
    narrow = Extremes(5, 6, 5, 6, DEEP, None, True, False)
    wide = Extremes(1, 9, 2, 8, DEEP, None, True, False)
    assert joined([narrow, wide]) == Extremes(1, 9, 2, 8, DEEP, None, True, False)
