"""Growth of a quantity per run, with an interval, from one sample after each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RESAMPLES = 1000


@dataclass(frozen=True)
class Growth:
    """Line through the samples of one quantity.

    Attributes:
        name: of the quantity.
        first, last: its values, of the samples that count.
        per_run: how much it grows with each run.
        low, high: the 95 % interval of that.
        runs: between the first and the last of them.
    """

    name: str
    first: float
    last: float
    per_run: float
    low: float
    high: float
    runs: float

    def is_more_than(self, least: float) -> bool:
        """Tells if it grows beyond doubt, and over all runs by more than ``least``."""
        return self.low > 0 and self.per_run * self.runs > least


def growth_of(name: str, after: Sequence[float], values: Sequence[float], seed: int = 0) -> Growth:
    """Fits a line by least squares; its interval is a bootstrap over blocks, since neighbouring samples are alike.

    Args:
        name: of the quantity.
        after: number of runs before each sample, at least three different ones.
        values: the samples.
        seed: of the bootstrap.

    >>> growth = growth_of("handles", [1, 2, 3, 4], [10, 12, 14, 16])
    >>> round(growth.per_run, 6), round(growth.low, 6), round(growth.high, 6)
    (2.0, 2.0, 2.0)
    """
    at, seen = np.asarray(after, float), np.asarray(values, float)
    centred = at - at.mean()
    per_run = _per_run(centred, seen)
    fitted = seen.mean() + per_run * centred
    resampled = fitted + _in_blocks(seen - fitted, np.random.default_rng(seed))
    low, high = np.percentile([_per_run(centred, each) for each in resampled], [2.5, 97.5])
    return Growth(name, float(seen[0]), float(seen[-1]), per_run, float(low), float(high), float(at[-1] - at[0]))


def _per_run(centred: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    return float(centred @ values / (centred @ centred))


def _in_blocks(residuals: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Returns (resamples, samples) residuals, drawn in blocks of a tenth of them, around the end too."""
    count = len(residuals)
    length = max(1, count // 10)
    starts = random.integers(0, count, (_RESAMPLES, -(-count // length)))
    drawn: npt.NDArray[np.float64] = residuals[
        ((starts[..., None] + np.arange(length)) % count).reshape(_RESAMPLES, -1)[:, :count]
    ]
    return drawn
