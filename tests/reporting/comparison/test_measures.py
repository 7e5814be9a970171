"""Every number of a comparison against scipy and pandas."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refusion.metrics import METRICS
from refusion.reporting.comparison.groups import Group, group_runs
from refusion.reporting.comparison.measures import leader, scores_of, standings_of
from refusion.statistics import fewest_pictures
from refusion.tracking.comparison.runs import read_runs

QUALITY = ["SCD", "VIF", "Qabf", "SSIM"]
METHODS = ["night", "morning", "laplacian", "average"]


@pytest.fixture(scope="module")
def group(written) -> Group:  # type: ignore[no-untyped-def]
    return group_runs(read_runs(written.uri, "study", METRICS)).groups[0]


@pytest.fixture(scope="module")
def table(group: Group) -> pd.DataFrame:
    return scores_of(group).set_index(["run", "metric"])


def holm(p: pd.Series) -> pd.Series:
    """Holm's correction as the textbook has it, one p after another."""
    found, highest = {}, 0.0
    for place, (key, value) in enumerate(p.sort_values().items()):
        highest = max(highest, min(1.0, value * (len(p) - place)))
        found[key] = highest
    return pd.Series(found)


def test_means_and_ranks_are_pandas(group: Group, table: pd.DataFrame, written) -> None:  # type: ignore[no-untyped-def]
    assert [method.name for method in group.methods] == METHODS
    means = pd.DataFrame({name: written.frames[name].mean() for name in METHODS}).T
    ranks = means.rank(ascending=False)
    for name, metric in itertools.product(METHODS, METRICS):
        assert table.loc[(name, metric), "mean"] == pytest.approx(means.loc[name, metric], rel=1e-12)
        assert table.loc[(name, metric), "rank"] == ranks.loc[name, metric]
    assert table.loc[("night", "VIF"), "undefined"] == 1
    standings = standings_of(group)
    assert standings["rank_all"].to_dict() == pytest.approx(ranks.mean(axis=1).to_dict())
    assert standings["rank_quality"].to_dict() == pytest.approx(ranks[QUALITY].mean(axis=1).to_dict())
    assert leader(group) == ranks.loc[["night", "morning", "laplacian"], QUALITY].mean(axis=1).idxmin()


def test_differences_and_tests_are_scipys(table: pd.DataFrame, written) -> None:  # type: ignore[no-untyped-def]
    p = {}
    for name, metric in itertools.product(METHODS[:3], METRICS):
        row = table.loc[(name, metric)]
        differences = (written.frames[name][metric] - written.frames["average"][metric]).dropna()
        assert row["difference"] == pytest.approx(differences.mean(), rel=1e-12)
        assert row["better"] == (differences.mean() > 0)
        p[name, metric] = stats.wilcoxon(differences, zero_method="zsplit").pvalue
        assert row["p"] == pytest.approx(p[name, metric], rel=1e-12)
    corrected = holm(pd.Series(p))
    for key, value in corrected.items():
        assert table.loc[key, "p_holm"] == pytest.approx(value, rel=1e-12)
    assert table.loc["average", ["difference", "p", "p_holm"]].isna().all().all()


def test_intervals_are_those_of_scipys_bootstrap(table: pd.DataFrame, written) -> None:  # type: ignore[no-untyped-def]
    """Two bootstraps of 10 000 draws differ by chance, by far less than the interval is wide."""
    for name, metric in itertools.product(METHODS[:3], ("EN", "VIF", "Qabf")):
        row = table.loc[(name, metric)]
        frame = written.frames[name][metric]
        for values, low, high in (
            (frame.dropna(), row["low"], row["high"]),
            ((frame - written.frames["average"][metric]).dropna(), row["difference_low"], row["difference_high"]),
        ):
            found = stats.bootstrap(
                (values,), np.mean, n_resamples=10_000, method="percentile", random_state=np.random.default_rng(7)
            ).confidence_interval
            width = found.high - found.low
            assert low == pytest.approx(found.low, abs=0.05 * width)
            assert high == pytest.approx(found.high, abs=0.05 * width)


def test_the_front_is_what_nothing_dominates(group: Group, written) -> None:  # type: ignore[no-untyped-def]
    means = pd.DataFrame({name: written.frames[name][QUALITY].mean() for name in METHODS}).T
    for name, on_front in standings_of(group)["front"].items():
        beaten = [
            other
            for other in METHODS
            if (means.loc[other] >= means.loc[name]).all() and (means.loc[other] > means.loc[name]).any()
        ]
        assert on_front == (not beaten)


def test_costs_are_sums_over_the_epochs(group: Group) -> None:
    night, average = (standings_of(group).loc[name] for name in ("night", "average"))
    names = ["epoch", "epochs", "pairs_seen", "cpu_seconds", "gpu_seconds", "seconds"]
    assert night[names].tolist() == [2, 2, 80, 4.5, 0.5, 4]
    assert average[names].isna().all()


def test_another_baseline_turns_the_differences(written) -> None:  # type: ignore[no-untyped-def]
    group = group_runs(read_runs(written.uri, "study", METRICS), "morning").groups[0]
    table = scores_of(group).set_index(["run", "metric"])
    expected = (written.frames["night"]["Qabf"] - written.frames["morning"]["Qabf"]).mean()
    assert table.loc[("night", "Qabf"), "difference"] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(table.loc[("morning", "Qabf"), "difference"])
    assert not np.isnan(table.loc[("average", "Qabf"), "difference"])


@pytest.mark.parametrize("tests", [1, 8, 24])
def test_with_fewer_pictures_no_test_is_below_the_level(tests: int) -> None:
    least = fewest_pictures(tests)
    for pictures in (least - 1, least):
        p = stats.wilcoxon(np.arange(1.0, pictures + 1), zero_method="zsplit").pvalue
        assert (min(1, p * tests) < 0.05) == (pictures == least)
