from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from refusion.metrics import evaluate
from refusion.metrics.statistics import pearson


def test_sd_is_the_population_standard_deviation(triple) -> None:
    assert evaluate(*triple, "SD")["SD"].item() == pytest.approx(np.std(triple[0].astype(float)), rel=1e-12)


def test_scd_is_two_correlations_with_differences(triple) -> None:
    f, a, b = (image.astype(float).ravel() for image in triple)
    expected = pearsonr(a, f - b).statistic + pearsonr(b, f - a).statistic
    assert evaluate(*triple, "SCD")["SCD"].item() == pytest.approx(expected, rel=1e-10)


def test_scd_of_the_sum_of_two_sources_is_two() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 128, (2, 20, 20), dtype=np.uint8)
    assert evaluate(a + b, a, b, "SCD")["SCD"].item() == pytest.approx(2, abs=1e-12)


def test_flat_source_or_difference_gives_nan(triple) -> None:
    f, a, b = triple
    assert evaluate(f, np.full_like(a, 90), b, "SCD")["SCD"].isnan()
    assert evaluate(b, a, b, "SCD")["SCD"].isnan()


def test_pearson_of_a_line_is_one() -> None:
    x = torch.rand(3, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(pearson(x, -2 * x + 5), -torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
