"""Statistics over images and methods: bootstrap intervals, ranks, the signed-rank test, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 10_000
# So many drawn values are in memory at once.
_DRAWN_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its confidence interval; NaN where there are none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class MeanInterval(Interval):
    """A mean over images and its confidence interval.

    Attributes:
        mean: of the defined values; NaN where there are none.
        low, high: the interval's ends; NaN where fewer than two values are defined or one is infinite.
        used: number of values that are defined.
        undefined: number of those that are not.
    """

    used: int
    undefined: int


def bootstrap(strata: Sequence[Array], seed: int, resamples: int = RESAMPLES, level: float = CONFIDENCE) -> Interval:
    """Sum of the strata's means with its percentile interval (Efron & Tibshirani, 1993, chapter 13).

    Args:
        strata: (values,) arrays, independent of one another; each is resampled within itself.
        seed: of the draws; the same values and seed give the same interval.
        resamples: number of times that the values are drawn anew, with replacement.
        level: share of the resampled sums inside the interval.

    Returns:
        NaN in all fields where a stratum is empty; no ends, that is NaN, where one has a single value.
    """
    if any(len(stratum) == 0 for stratum in strata):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(sum(stratum.mean() for stratum in strata))
    if any(len(stratum) == 1 for stratum in strata):
        return Interval(mean, math.nan, math.nan)
    random = np.random.default_rng(seed)
    sums = np.zeros(resamples)
    for stratum in strata:
        count = len(stratum)
        rows = max(1, _DRAWN_AT_ONCE // count)
        for first in range(0, resamples, rows):
            block = sums[first : first + rows]
            block += stratum[random.integers(0, count, (len(block), count), dtype=np.int32)].mean(axis=1)
    low, high = np.quantile(sums, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def mean_interval(
    values: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = CONFIDENCE
) -> MeanInterval:
    """Mean over images with its bootstrap interval.

    Args:
        values: (images,), NaN where the score is undefined: such images are left out and counted.
        seed, resamples, level: as for ``bootstrap``.
    """
    scores = np.asarray(values, dtype=np.float64)
    defined = scores[~np.isnan(scores)]
    mean, undefined = _mean(defined), len(scores) - len(defined)
    if len(defined) < 2 or not np.isfinite(defined).all():
        return MeanInterval(mean, math.nan, math.nan, len(defined), undefined)
    found = bootstrap([defined], seed, resamples, level)
    return MeanInterval(mean, found.low, found.high, len(defined), undefined)


def _mean(values: Array) -> float:
    with np.errstate(invalid="ignore"):
        return float(values.mean()) if len(values) else math.nan


def ranks(values: npt.ArrayLike, *, higher: bool = True) -> Array:
    """Rank of each value, 1 = best; equal ones share the mean of their places, NaN has none.

    >>> ranks([0.5, 0.7, 0.5]).tolist()
    [2.5, 1.0, 2.5]

    Args:
        values: (n,), NaN where undefined.
        higher: whether higher is better.
    """
    array = np.asarray(values, dtype=np.float64)
    return np.asarray(stats.rankdata(-array if higher else array, nan_policy="omit"), dtype=np.float64)


def rank_table(means: pd.DataFrame, higher: Mapping[str, bool]) -> pd.DataFrame:
    """Rank of each method in each metric.

    Args:
        means: methods × metrics.
        higher: whether higher is better, by metric.
    """
    columns = {metric: ranks(column, higher=higher[str(metric)]) for metric, column in means.items()}
    return pd.DataFrame(columns, index=means.index, columns=means.columns, dtype=np.float64)


def paired_tests(first: pd.DataFrame, others: Mapping[str, pd.DataFrame], higher: Mapping[str, bool]) -> pd.DataFrame:
    """Test whether each other method differs from the first on the same images, metric by metric.

    Wilcoxon's signed-rank test, two-sided, on the images where both scores are defined. Images without a difference
    stay in, half of their ranks on either side (``zsplit``; Demšar, JMLR 7, 2006): dropping them would find a
    difference in the few images that are left. All p values of one call are corrected together (Holm, Scandinavian
    J. Statistics 6, 1979).

    Args:
        first: images × metrics of the method that the others are compared with.
        others: the same by name of the method; each is compared in the metrics that it shares with the first, images
            matched by the index. All scores follow one convention.
        higher: whether higher is better, by metric.

    Returns:
        A row per other method and metric, with columns ``method``, ``metric``, ``difference`` (mean of other − first),
        ``p`` (1 where all differences are zero, NaN where no image has both scores), ``p_holm``, ``pictures``
        (number of images with both scores) and ``better`` (whether the difference of the means is an improvement).
    """
    rows = []
    for name, other in others.items():
        shared = first.index.intersection(other.index)
        for metric in (column for column in first.columns if column in other):
            differences = paired_differences(first.loc[shared, metric], other.loc[shared, metric])
            mean = _mean(differences)
            better = mean > 0 if higher[metric] else mean < 0
            rows.append((name, metric, mean, _signed_rank(differences), len(differences), better))
    table = pd.DataFrame(rows, columns=["method", "metric", "difference", "p", "pictures", "better"])
    table = table.astype({"difference": np.float64, "p": np.float64, "pictures": np.int64, "better": bool})
    table.insert(4, "p_holm", holm(table["p"].to_numpy()))
    return table


def paired_differences(first: pd.Series, other: pd.Series) -> Array:
    """Returns other − first where both are defined; two equal infinities (PSNR of a perfect picture) do not differ.

    Args:
        first, other: scores of the same images in the same order, NaN where undefined.
    """
    x, y = first.to_numpy(np.float64), other.to_numpy(np.float64)
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    with np.errstate(invalid="ignore"):
        return np.where(x == y, 0.0, y - x)


def _signed_rank(differences: Array) -> float:
    if not len(differences):
        return math.nan
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit", alternative="two-sided").pvalue)


def holm(p: npt.ArrayLike) -> Array:
    """Holm's step-down correction of p values, any number of them; NaN stays NaN and is not counted as a test.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(values), math.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def fewest_pictures(tests: int, level: float = 0.05) -> int:
    """Returns how many pictures so many tests need at least: with fewer none can be below the level.

    The least p of a signed-rank test on n pictures is 2·2⁻ⁿ; Holm's correction multiplies it by the number of tests.

    >>> fewest_pictures(1), fewest_pictures(8)
    (6, 9)
    """
    return math.floor(1 + math.log2(tests / level)) + 1
