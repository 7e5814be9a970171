"""Trials ranked by several metrics at once: average ranks, pairwise wins, non-dominated fronts.

A *table* is float64 (trials, goals): higher is better, −inf where a trial has no number. Ranks need no common scale,
so that metrics of different units and tasks of different difficulty weigh what their weights say (Friedman's average
ranks, JASA 32, 1937; fronts as in NSGA-II, Deb et al., IEEE Trans. Evolutionary Computation 6(2), 2002).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from refusion.statistics import ranks

Array = npt.NDArray[np.float64]
# Sums of weights in another order differ in the last digits; that must not break a tie.
_DIGITS = 9


def mean_ranks(table: Array, weights: Sequence[float]) -> Array:
    """(trials,): the weighted mean over the goals of the rank, 1 = best."""
    total = sum(weight * ranks(column) for weight, column in zip(weights, table.T, strict=True))
    return np.asarray(np.round(total / sum(weights), _DIGITS), dtype=np.float64)


def share_beaten(rank: Array) -> Array:
    """Average ranks as the share of the others that each one beats, ties half: 1 = beats all; alone 0.5."""
    others = len(rank) - 1
    return 1 - (rank - 1) / others if others > 0 else np.full(len(rank), 0.5)


def wins(table: Array, reference: Array, weights: Sequence[float]) -> Array:
    """(n, m): what row i of ``table`` wins against row j of ``reference``, from 0 (all goals lost) to 1; ties half."""
    total = np.zeros((len(table), len(reference)))
    for weight, ours, theirs in zip(weights, table.T, reference.T, strict=True):
        total += weight * ((ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs))
    return total / sum(weights)


def fronts(table: Array) -> npt.NDArray[np.int64]:
    """(trials,): the number of the front, 0 = dominated by none (at least as good in all goals, better in one)."""
    no_worse = np.ones((len(table), len(table)), dtype=bool)
    for column in table.T:
        no_worse &= column[:, None] >= column
    dominates = no_worse & ~no_worse.T
    front = np.full(len(table), -1, dtype=np.int64)
    number = 0
    while (front < 0).any():
        left = front < 0
        front[left & ~dominates[left].any(axis=0)] = number
        number += 1
    return front


def pareto_shares(table: Array, weights: Sequence[float]) -> Array:
    """(trials,) in [0, 1]: ordered by front, within a front by average rank; the share of the others that is behind.

    Average rank rather than NSGA-II's crowding distance, which would put a front's extreme ends first.
    """
    _, order = np.unique(np.stack([fronts(table), mean_ranks(table, weights)], axis=1), axis=0, return_inverse=True)
    return share_beaten(ranks(-order.reshape(-1).astype(np.float64)))
