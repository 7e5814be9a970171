from __future__ import annotations

import math

import pandas as pd
import pytest

from refusion.evaluation.recording import summary
from refusion.evaluation.results import MethodScores
from refusion.statistics import mean_interval


def test_means_and_the_intervals_that_there_are() -> None:
    columns = {"EN": [1.0, 2.0, 4.0], "SCD": [math.nan, 1.0, math.nan], "ref_SSIM": [math.nan] * 3}
    found = summary(MethodScores("ours", "authors", pd.DataFrame(columns, index=["x", "y", "z"])), seed=3)
    interval = mean_interval(columns["EN"], seed=3)
    assert list(found) == ["EN", "EN_low", "EN_high", "SCD", "ref_SSIM"]
    assert found["EN"] == pytest.approx(7 / 3)
    assert (found["EN_low"], found["EN_high"]) == (interval.low, interval.high)
    assert found["SCD"] == 1.0
    assert math.isnan(found["ref_SSIM"])
