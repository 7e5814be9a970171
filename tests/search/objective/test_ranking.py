from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.search.objective.ranking import Array, fronts, mean_ranks, pareto_shares, share_beaten, wins

# Few different values, so that ties are common; −inf stands for a missing number.
values = st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 0.5, 3.0])
tables = st.integers(1, 4).flatmap(
    lambda goals: st.lists(st.lists(values, min_size=goals, max_size=goals), min_size=1, max_size=12).map(np.array)
)


@given(tables)
def test_wins_over_all_others_are_the_share_that_average_ranks_give(table: Array) -> None:
    weights = [1.0, 2.0, 0.5, 3.0][: table.shape[1]]
    mine = wins(table, table, weights)
    assert np.allclose(mine + mine.T, 1)
    if len(table) > 1:
        mean = (mine.sum(axis=1) - 0.5) / (len(table) - 1)
        assert np.allclose(mean, share_beaten(mean_ranks(table, weights)))


def test_mean_ranks_weigh_the_goals() -> None:
    table = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    assert mean_ranks(table, [1, 1]).tolist() == [2, 2, 2]
    assert mean_ranks(table, [3, 1]).tolist() == [1.5, 2, 2.5]


def test_the_order_of_sums_breaks_no_tie() -> None:
    """0.1·1 + 0.2·2 + 0.3·3 and the like differ in their last digits from row to row."""
    table = np.array([[3.0, 3.0, 1.0], [1.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    assert len(set(mean_ranks(table, [0.1, 0.2, 0.3]).tolist())) == 1


def test_alone_is_half() -> None:
    assert share_beaten(np.array([1.0])).tolist() == [0.5]
    assert share_beaten(np.array([])).tolist() == []


def dominates(one: Array, other: Array) -> bool:
    return bool(all(one >= other) and any(one > other))


@given(tables)
def test_fronts_are_those_of_the_definition(table: Array) -> None:
    expected: dict[int, int] = {}
    while len(expected) < len(table):
        left = [row for row in range(len(table)) if row not in expected]
        free = [row for row in left if not any(dominates(table[other], table[row]) for other in left)]
        expected |= dict.fromkeys(free, max(expected.values(), default=-1) + 1)
    assert fronts(table).tolist() == [expected[row] for row in range(len(table))]


def test_fronts_are_those_of_optuna() -> None:
    sort = pytest.importorskip("optuna.study._multi_objective")._fast_non_domination_rank
    for seed in range(20):
        table = np.random.default_rng(seed).integers(0, 6, size=(60, 3)).astype(np.float64)
        assert fronts(table).tolist() == sort(-table).tolist()


@given(tables)
def test_an_earlier_front_always_scores_higher(table: Array) -> None:
    weights = [1.0] * table.shape[1]
    front, share, mean = fronts(table), pareto_shares(table, weights), mean_ranks(table, weights)
    assert ((share >= 0) & (share <= 1)).all()
    for one in range(len(table)):
        for other in range(len(table)):
            if (front[one], mean[one]) < (front[other], mean[other]):
                assert share[one] > share[other]
            if (front[one], mean[one]) == (front[other], mean[other]):
                assert share[one] == share[other]
