from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refusion.baselines.selection import majority, select_larger


def slow_votes(lead: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Counts the votes window by window."""
    reach = side // 2
    votes = np.zeros(lead.shape)
    for y, x in np.ndindex(lead.shape):
        window = lead[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        votes[y, x] = (window > 0).sum() - (window < 0).sum()
    return votes


def test_votes_are_counted_inside_the_image() -> None:
    lead = np.random.default_rng(0).integers(-1, 2, (9, 11)).astype(np.float64) * 0.3
    assert np.array_equal(majority(lead, 3), slow_votes(lead, 3))
    assert np.array_equal(majority(lead, 21), slow_votes(lead, 21))


def test_the_larger_magnitude_is_kept_with_its_sign() -> None:
    a, b = np.full((4, 4), -3.0), np.full((4, 4), 2.0)
    assert np.array_equal(select_larger(a, b), a)
    assert np.array_equal(select_larger(b, a), a)


def test_a_single_coefficient_follows_its_neighbours() -> None:
    a, b = np.full((5, 5), 3.0), np.full((5, 5), 2.0)
    b[2, 2] = -9.0
    assert np.array_equal(select_larger(a, b), a)


def test_a_draw_is_the_mean() -> None:
    a, b = np.full((3, 3), 4.0), np.full((3, 3), -4.0)
    assert np.array_equal(select_larger(a, b), np.zeros((3, 3)))
