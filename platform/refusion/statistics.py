"""How sure a mean is, who ranks where, and which differences between methods are more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from refusion.evaluation.results import MethodScores

Array = npt.NDArray[np.float64]
# So many drawn values are in memory at once.
_DRAWN_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over pictures and its confidence interval.

    Attributes:
        mean: of the defined values; NaN where there are none.
        low, high: the interval's ends; NaN where fewer than two values are defined or one is infinite.
        used: how many values are defined.
        undefined: how many are not.
    """

    mean: float
    low: float
    high: float
    used: int
    undefined: int


def mean_interval(values: npt.ArrayLike, *, seed: int = 0, resamples: int = 10_000, level: float = 0.95) -> Interval:
    """Mean and percentile bootstrap interval over pictures (Efron & Tibshirani, 1993, chapter 13).

    Args:
        values: (pictures,), NaN where the score is undefined: such pictures are left out and counted.
        seed: the same values and seed give the same interval.
        resamples: how often the pictures are drawn anew, with replacement.
        level: the share of the resampled means inside the interval.
    """
    scores = np.asarray(values, dtype=np.float64)
    defined = scores[~np.isnan(scores)]
    undefined = len(scores) - len(defined)
    mean = _mean(defined)
    if len(defined) < 2 or not np.isfinite(defined).all():
        return Interval(mean, math.nan, math.nan, len(defined), undefined)
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(_resampled_means(defined, seed, resamples), tails)
    return Interval(mean, float(low), float(high), len(defined), undefined)


def _resampled_means(values: Array, seed: int, resamples: int) -> Array:
    random = np.random.default_rng(seed)
    count = len(values)
    rows = max(1, _DRAWN_AT_ONCE // count)
    parts = []
    for first in range(0, resamples, rows):
        drawn = random.integers(0, count, (min(rows, resamples - first), count), dtype=np.int32)
        parts.append(values[drawn].mean(axis=1))
    return np.concatenate(parts)


def _mean(values: Array) -> float:
    with np.errstate(invalid="ignore"):
        return float(values.mean()) if len(values) else math.nan


def mean_table(methods: Sequence[MethodScores]) -> pd.DataFrame:
    """Methods × metrics: the mean of the defined scores, NaN where there are none. Columns as first met."""
    columns = list(dict.fromkeys(column for method in methods for column in method.frame.columns))
    rows = [[_mean(_defined(method.frame, column)) for column in columns] for method in methods]
    return pd.DataFrame(rows, index=[method.name for method in methods], columns=columns, dtype=np.float64)


def _defined(frame: pd.DataFrame, column: str) -> Array:
    return frame[column].dropna().to_numpy(np.float64) if column in frame else np.empty(0)


def ranks(means: pd.DataFrame, higher: Mapping[str, bool]) -> pd.DataFrame:
    """Rank of each method in each metric: 1 = best, equal ones share the mean of their places, NaN where undefined.

    Args:
        means: methods × metrics.
        higher: whether higher is better, by metric.
    """
    columns = {
        metric: column.rank(method="average", ascending=not higher[str(metric)], na_option="keep")
        for metric, column in means.items()
    }
    return pd.DataFrame(columns, index=means.index, columns=means.columns, dtype=np.float64)


def paired_tests(first: MethodScores, others: Sequence[MethodScores], higher: Mapping[str, bool]) -> pd.DataFrame:
    """Does each other method differ from the first on the same pictures, metric by metric?

    Wilcoxon's signed-rank test, two-sided, on the pictures where both scores are defined. Pictures without a difference
    stay in, half of their ranks on either side (``zsplit``; Demšar, JMLR 7, 2006): dropping them would find a
    difference in the few pictures that are left. All p values of one call are corrected together (Holm, Scandinavian
    J. Statistics 6, 1979).

    Args:
        first: what the others are compared with.
        others: each is compared in the metrics that it shares with the first, pictures matched by name.
        higher: whether higher is better, by metric.

    Returns:
        A row per other method and metric, with columns ``method``, ``metric``, ``difference`` (mean of other − first),
        ``p`` (1 where all differences are zero, NaN where no picture has both scores), ``p_holm``, ``pictures``
        (with both scores) and ``better`` (whether the difference of the means is an improvement).

    Raises:
        ValueError: the scores follow different conventions.
    """
    rows = []
    for other in others:
        if other.convention != first.convention:
            raise ValueError(f"conventions differ: {first.name} {first.convention}, {other.name} {other.convention}")
        pictures = first.frame.index.intersection(other.frame.index)
        for metric in (column for column in first.frame.columns if column in other.frame):
            differences = _differences(first.frame.loc[pictures, metric], other.frame.loc[pictures, metric])
            mean = _mean(differences)
            better = mean > 0 if higher[metric] else mean < 0
            rows.append((other.name, metric, mean, _signed_rank(differences), len(differences), better))
    table = pd.DataFrame(rows, columns=["method", "metric", "difference", "p", "pictures", "better"])
    table = table.astype({"difference": np.float64, "p": np.float64, "pictures": np.int64, "better": bool})
    table.insert(4, "p_holm", holm(table["p"].to_numpy()))
    return table


def _differences(first: pd.Series, other: pd.Series) -> Array:
    """Other − first where both are defined; two equal infinities (PSNR of a perfect picture) do not differ."""
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
    """Holm's step-down correction of p values, any number of them; NaN stays NaN and is not counted as a test."""
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(values), math.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
