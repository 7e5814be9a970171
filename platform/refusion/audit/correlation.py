"""Rank correlation of a reward with quality metrics over methods, with intervals over val pairs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from refusion.audit.methods import SOURCES
from refusion.audit.results import REWARD
from refusion.statistics import CONFIDENCE, Interval

RESAMPLES = 2000
FEW = 6
"""With fewer methods than this, a rank correlation says little, and the report says so."""

_LEAST = 3


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of −loss with one metric.

    Attributes:
        interval: the correlation (its mean field) and the ends of its interval; NaN with fewer than three methods.
        methods: number of methods that it is over.
    """

    interval: Interval
    methods: int


def agreement(pairs: pd.DataFrame, metric: str, seed: int = 0) -> Agreement:
    """Returns Spearman's rank correlation of −loss with a metric over the methods that fuse.

    Both are means over val pairs, the loss over seeds too. The interval is the bootstrap's percentiles: val pairs are
    drawn anew with replacement, the same ones for every method. A mean is over the pairs on
    which the score is defined; methods without any are left out.

    Args:
        pairs: rows of one setting: method, pair, seed, reward and the metric.
        metric: a column; the higher, the better.
        seed: of the draws.
    """
    fusing = pairs[~pairs["method"].isin(SOURCES)]
    losses, scores = (
        fusing.pivot_table(index="method", columns="pair", values=column, aggfunc="mean", dropna=False)
        for column in (REWARD, metric)
    )
    defined = losses.notna().all(axis=1) & scores.notna().any(axis=1)
    x, y = (-losses[defined].to_numpy(np.float64), scores[defined].to_numpy(np.float64))
    count = len(x)
    if count < _LEAST:
        return Agreement(Interval(np.nan, np.nan, np.nan), count)
    drawn = np.random.default_rng(seed).integers(0, x.shape[1], (RESAMPLES, x.shape[1]))
    with warnings.catch_warnings():
        # A draw of pairs on which a score is undefined has no mean, and is left out.
        warnings.simplefilter("ignore", RuntimeWarning)
        resampled = _spearman(x[:, drawn].mean(axis=2), np.nanmean(y[:, drawn], axis=2))
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    found = _spearman(x.mean(axis=1, keepdims=True), np.nanmean(y, axis=1, keepdims=True))[0]
    return Agreement(Interval(float(found), float(low), float(high)), count)


def _spearman(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Spearman's correlation along the first axis: two (methods, n) to (n,)."""
    centred = [ranks - ranks.mean(axis=0) for ranks in (stats.rankdata(z, axis=0) for z in (x, y))]
    with np.errstate(invalid="ignore", divide="ignore"):
        product = (centred[0] * centred[1]).sum(axis=0)
        return np.asarray(product / np.sqrt((centred[0] ** 2).sum(axis=0) * (centred[1] ** 2).sum(axis=0)))
