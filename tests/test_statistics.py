from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from refusion.statistics import Interval, MeanInterval, bootstrap, holm, mean_interval, paired_tests, rank_table, ranks

HIGHER = {"SSIM": True, "CE": False}


def scores(**columns: npt.ArrayLike) -> pd.DataFrame:
    frame = pd.DataFrame({metric: np.asarray(values, float) for metric, values in columns.items()})
    frame.index = pd.Index([f"p{place:02d}" for place in range(len(frame))], name="name")
    return frame


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("count", [8, 61])
def test_the_interval_is_scipys_percentile_bootstrap(count: int, level: float) -> None:
    values = np.random.default_rng(3).lognormal(size=count)
    ours = mean_interval(values, seed=5, resamples=40_000, level=level)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, confidence_level=level, method="percentile", random_state=7
    )
    low, high = theirs.confidence_interval
    assert ours.mean == pytest.approx(values.mean(), abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.03 * (high - low))
    assert (ours.used, ours.undefined) == (count, 0)


def test_the_interval_is_that_of_all_possible_resamples() -> None:
    values = np.array([0.1, -0.2, 0.4, 0.35, 0.05])
    means = [np.mean(drawn) for drawn in itertools.product(values, repeat=len(values))]
    found = bootstrap([values], seed=0, resamples=40_000)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.011)


def test_strata_are_resampled_within_themselves() -> None:
    """Two tasks that differ by a lot, and not at all within themselves: nothing is uncertain."""
    found = bootstrap([np.full(7, 0.2), np.full(3, -0.1)], seed=0, resamples=500)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize("count", [2, 7, 361])
def test_the_stream_of_draws_is_that_of_plain_draws_in_one_block(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    drawn = np.random.default_rng(9).integers(count, size=(1203, count))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    assert bootstrap([values], seed=9, resamples=1203) == Interval(values.mean(), low, high)


def test_an_empty_stratum_has_no_interval() -> None:
    found = bootstrap([np.ones(3), np.empty(0)], seed=0)
    assert all(math.isnan(value) for value in (found.mean, found.low, found.high))


def test_two_values_have_the_ends_that_all_draws_give() -> None:
    # A quarter of the draws is all 0, a quarter all 1.
    assert mean_interval([0, 1]) == MeanInterval(0.5, 0.0, 1.0, 2, 0)
    assert mean_interval([0, 1], level=0.4) == MeanInterval(0.5, 0.5, 0.5, 2, 0)


def test_the_seed_decides_the_interval_and_many_pictures_are_drawn_in_parts() -> None:
    values = np.random.default_rng(0).normal(size=3001)
    one, again, other = (mean_interval(values, seed=seed, resamples=3000) for seed in (1, 1, 2))
    assert one == again
    assert one.low != other.low
    error = values.std() / math.sqrt(len(values))
    assert (one.low, one.high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.004)


def test_undefined_values_are_left_out_and_counted() -> None:
    values = [0.2, math.nan, 0.4, 0.9, math.nan]
    defined = mean_interval([0.2, 0.4, 0.9])
    assert mean_interval(values) == MeanInterval(defined.mean, defined.low, defined.high, 3, 2)


@pytest.mark.parametrize(
    ("values", "mean", "used"),
    [([], math.nan, 0), ([math.nan], math.nan, 0), ([0.5, math.nan], 0.5, 1), ([1.0, math.inf], math.inf, 2)],
)
def test_without_a_spread_there_is_no_interval(values: list[float], mean: float, used: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = mean_interval(values)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((mean, math.nan, math.nan), nan_ok=True)
    assert (interval.used, interval.undefined) == (used, len(values) - used)


def test_ranks_follow_the_direction_share_places_and_skip_the_undefined() -> None:
    means = pd.DataFrame({"SSIM": [0.5, 0.7, 0.5, math.nan], "CE": [2.0, 1.0, 3.0, math.nan]}, index=list("wxyz"))
    expected = {"SSIM": [2.5, 1.0, 2.5, math.nan], "CE": [2.0, 1.0, 3.0, math.nan]}
    pd.testing.assert_frame_equal(rank_table(means, HIGHER), pd.DataFrame(expected, index=list("wxyz")))


@given(st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 0.5, 3.0]), min_size=1, max_size=20))
def test_a_rank_counts_the_better_and_half_of_the_equal_ones(values: list[float]) -> None:
    counted = [sum(x > y for x in values) + (values.count(y) + 1) / 2 for y in values]
    assert ranks(values).tolist() == counted


def test_ranks_of_values_from_the_highest_or_the_lowest() -> None:
    assert ranks([0.5, 0.7, -math.inf, 0.5]).tolist() == [2.5, 1, 4, 2.5]
    assert ranks([0.5, 0.7, 0.5], higher=False).tolist() == [1.5, 3, 1.5]


def signed_rank_by_enumeration(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p of the signed-rank sum: how many of all sign patterns are at least as far from the middle."""
    places = stats.rankdata(np.abs(differences))
    middle = places.sum() / 2
    far = abs(places[differences > 0].sum() - middle)
    sums = [np.dot(signs, places) for signs in itertools.product((0, 1), repeat=len(places))]
    return float(np.mean([abs(total - middle) >= far - 1e-9 for total in sums]))


def test_p_is_wilcoxons_and_the_difference_has_its_sign() -> None:
    random = np.random.default_rng(1)
    first = scores(SSIM=random.normal(size=9), CE=random.normal(size=9))
    other = scores(SSIM=random.normal(0.8, size=9), CE=random.normal(0.8, size=9))
    table = paired_tests(first, {"other": other}, HIGHER)
    assert list(table.columns) == ["method", "metric", "difference", "p", "p_holm", "pictures", "better"]
    assert list(table["metric"]) == ["SSIM", "CE"]
    differences = (other - first).to_numpy()
    expected = [signed_rank_by_enumeration(column) for column in differences.T]
    np.testing.assert_allclose(table["p"], expected)
    np.testing.assert_allclose(table["difference"], differences.mean(axis=0))
    assert list(table["better"]) == [differences[:, 0].mean() > 0, differences[:, 1].mean() < 0]
    assert list(table["pictures"]) == [9, 9]


def test_pictures_without_a_difference_speak_against_a_difference() -> None:
    changed = np.linspace(0.1, 0.6, 6)
    base = scores(SSIM=np.zeros(20))
    table = paired_tests(base, {"other": scores(SSIM=np.r_[changed, np.zeros(14)])}, HIGHER)
    assert signed_rank_by_enumeration(changed) == pytest.approx(2 / 64)
    assert table["p"][0] > 2 / 64


def test_pictures_are_matched_by_name_and_only_where_both_are_defined() -> None:
    first = scores(SSIM=[0.1, 0.2, math.nan, 0.4])
    other = first.iloc[::-1] + 1
    other.loc["p00", "SSIM"] = math.nan
    row = paired_tests(first, {"other": other}, HIGHER).iloc[0]
    assert (row["pictures"], row["p"]) == (2, 0.5)
    assert row["difference"] == pytest.approx(1)


def test_equal_scores_give_one_and_missing_scores_give_none() -> None:
    first = scores(SSIM=[1.0, 2.0, math.inf], CE=[math.nan] * 3)
    table = paired_tests(first, {"other": scores(SSIM=[1.0, 2.0, math.inf], CE=[1.0, 2.0, 3.0])}, HIGHER)
    assert list(table["p"].fillna(-1)) == [1, -1]
    assert list(table["p_holm"].fillna(-1)) == [1, -1]
    assert list(table["pictures"]) == [3, 0]
    assert not table["better"].any()


def test_an_infinite_score_is_the_largest_difference() -> None:
    first = scores(SSIM=[1, 2, 3, 4, 5, 6])
    row = paired_tests(first, {"other": scores(SSIM=[2, 4, 6, 8, math.inf, math.inf])}, HIGHER).iloc[0]
    assert row["p"] == pytest.approx(2 / 64)
    assert row["better"]


def test_one_call_corrects_all_its_tests_together() -> None:
    random = np.random.default_rng(2)
    first = scores(SSIM=random.normal(size=12), CE=random.normal(size=12))
    others = {name: scores(SSIM=random.normal(2, size=12), CE=random.normal(size=12)) for name in ("x", "y", "z")}
    table = paired_tests(first, others, HIGHER)
    assert list(table["method"]) == ["x", "x", "y", "y", "z", "z"]
    np.testing.assert_allclose(table["p_holm"], holm(table["p"]))
    assert table["p_holm"].min() == pytest.approx(min(1, 6 * table["p"].min()))


def test_no_others_give_an_empty_table() -> None:
    assert paired_tests(scores(SSIM=[1.0]), {}, HIGHER).empty


def holm_by_the_book(p: list[float]) -> list[float]:
    """For each hypothesis the smallest level at which the step-down procedure rejects it."""
    rejected_from = []
    for place, own in enumerate(p):
        before = [other for spot, other in enumerate(p) if (other, spot) <= (own, place)]
        ordered = sorted(before)
        rejected_from.append(min(1.0, max((len(p) - step) * value for step, value in enumerate(ordered))))
    return rejected_from


@pytest.mark.parametrize("p", [[], [0.03], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.02, 0.02, 0.9], [1.0, 1.0]])
def test_holm_is_the_step_down_procedure(p: list[float]) -> None:
    np.testing.assert_allclose(holm(p), holm_by_the_book(p), rtol=1e-12)


def test_holms_own_numbers() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, math.nan, 0.04]), [0.02, math.nan, 0.04])
