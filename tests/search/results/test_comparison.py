from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from refusion.search.objective.objective import Objective
from refusion.search.results.comparison import Comparison, compare

NAN = math.nan
SSIM = Objective.parse("SSIM", ["IVIF"])
RANK = Objective.parse("SSIM,Qabf:3", ["IVIF"])


def scores(random: np.random.Generator, count: int = 20, shift: float = 0.0) -> dict[str, dict[str, float]]:
    return {
        f"{number:05d}": {"SSIM": 0.6 + shift + random.normal(0, 0.05), "Qabf": 0.5 + shift + random.normal(0, 0.05)}
        for number in range(count)
    }


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def test_the_interval_is_that_of_scipy(random: np.random.Generator) -> None:
    ours, reference = scores(random, shift=0.02), scores(random)
    found = compare(SSIM, ours, reference, seed=1).gain
    x, y = (np.array([side[name]["SSIM"] for name in ours]) for side in (ours, reference))
    theirs = stats.bootstrap(
        (x, y), lambda a, b, axis: (a - b).mean(axis=axis), paired=True, method="percentile", n_resamples=50_000, rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.mean == pytest.approx((x - y).mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


def test_the_same_seed_gives_the_same(random: np.random.Generator) -> None:
    ours, reference = scores(random), scores(random)
    assert compare(RANK, ours, reference, seed=4) == compare(RANK, ours, reference, seed=4)
    assert compare(SSIM, ours, reference, seed=4).gain != compare(SSIM, ours, reference, seed=5).gain


def test_a_clear_gain_is_better_and_its_mirror_is_not(random: np.random.Generator) -> None:
    ours, reference = scores(random, shift=0.1), scores(random)
    for objective in (SSIM, RANK):
        there, back = compare(objective, ours, reference), compare(objective, reference, ours)
        assert there.better
        assert not back.better
        assert back.gain.mean == pytest.approx(-there.gain.mean)
        assert there.gain.low > 0 > back.gain.high


def test_noise_alone_is_seldom_better() -> None:
    said = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        said += compare(SSIM, scores(random, 12), scores(random, 12), resamples=1000).better
    assert said <= 9  # 2.5 % of them in the long run, a little more with a percentile interval of 12 pairs


def test_metrics_are_raw_differences(random: np.random.Generator) -> None:
    ours, reference = scores(random), scores(random)
    found = compare(SSIM, ours, reference).metrics
    assert list(found) == ["SSIM", "Qabf"]
    for key, one in found.items():
        assert one.pairs == 20
        assert one.ours == pytest.approx(np.mean([s[key] for s in ours.values()]))
        assert one.reference == pytest.approx(np.mean([s[key] for s in reference.values()]))
        assert one.difference.mean == pytest.approx(one.ours - one.reference)
        assert one.difference.low < one.difference.mean < one.difference.high


def test_rank_counts_wins_by_weight() -> None:
    reference = {str(n): {"SSIM": 0.5, "Qabf": 0.5} for n in range(8)}
    ours = {name: {"SSIM": 0.6, "Qabf": 0.4} for name in reference}
    ours["0"] = {"SSIM": 0.6, "Qabf": 0.5}
    # SSIM always won (weight 1 of 4), Qabf tied once (weight 3 of 4).
    found = compare(RANK, ours, reference)
    assert found.gain.mean == pytest.approx((7 * 0.25 + 1 * (0.25 + 0.375)) / 8 - 0.5)
    assert not found.better


def test_lower_can_be_better() -> None:
    objective = Objective("value", (type(SSIM.goals[0])("Nabf", higher=False),), "Nabf")
    ours = {str(n): {"Nabf": 0.1 + n / 1000} for n in range(10)}
    reference = {str(n): {"Nabf": 0.3} for n in range(10)}
    found = compare(objective, ours, reference)
    assert found.better
    assert found.gain.mean == pytest.approx(0.2 - 0.0045)
    assert found.metrics["Nabf"].difference.mean == pytest.approx(-found.gain.mean)


def test_each_task_counts_the_same_however_many_pairs_it_has() -> None:
    objective = Objective.parse("SSIM", ["IVIF", "MIF"])
    reference = {f"i{n}": {"IVIF/SSIM": 0.5} for n in range(30)} | {f"m{n}": {"MIF/SSIM": 0.5} for n in range(4)}
    ours = {name: {key: 0.6 if key.startswith("IVIF") else 0.4 for key in one} for name, one in reference.items()}
    found = compare(objective, ours, reference)
    assert found.gain.mean == pytest.approx(0)
    assert {key: one.pairs for key, one in found.metrics.items()} == {"IVIF/SSIM": 30, "MIF/SSIM": 4}
    assert found.pairs == 34


def test_one_pair_of_a_task_is_too_few() -> None:
    """Resampling a single pair gives that pair again, which looks like certainty."""
    objective = Objective.parse("SSIM", ["IVIF", "MIF"])
    reference = {f"i{n}": {"IVIF/SSIM": 0.5} for n in range(6)} | {f"m{n}": {"MIF/SSIM": 0.5} for n in range(2)}
    ours = {name: {key: 0.6 for key in one} for name, one in reference.items()}
    assert compare(objective, ours, reference).better
    del ours["m1"], reference["m1"]
    assert not compare(objective, ours, reference).better


def test_a_missing_score_loses(random: np.random.Generator) -> None:
    ours, reference = scores(random, shift=0.2), scores(random)
    assert compare(SSIM, ours, reference).better
    ours["00003"]["SSIM"] = NAN
    value, rank = compare(SSIM, ours, reference), compare(RANK, ours, reference)
    assert (value.unscored, rank.unscored) == (1, 1)
    assert not value.better
    assert "1 of its images have no score" in value.sentence()
    assert value.metrics["SSIM"].pairs == 19
    assert rank.better
    reference["00003"]["SSIM"] = NAN
    assert compare(SSIM, ours, reference).better


@pytest.mark.parametrize(("count", "better"), [(1, False), (5, False), (6, True)])
def test_few_pairs_prove_nothing(count: int, better: bool) -> None:
    reference = {str(n): {"SSIM": 0.5} for n in range(count)}
    ours = {str(n): {"SSIM": 0.6 + n / 100} for n in range(count)}
    found = compare(SSIM, ours, reference)
    # One pair says nothing about the others, so that it has no interval.
    assert (found.gain.low > 0) is (count > 1)
    assert ("interval" in found.sentence()) is (count > 1)
    assert found.better is better
    assert ("too few pairs" in found.sentence()) is not better


def test_one_pair_of_each_task_has_no_interval() -> None:
    objective = Objective.parse("SSIM,Qabf", ["IVIF", "MIF"])
    ours = {f"{task}/one": {f"{task}/SSIM": 0.6, f"{task}/Qabf": 0.4} for task in ("IVIF", "MIF")}
    found = compare(objective, ours, {name: dict.fromkeys(one, 0.5) for name, one in ours.items()})
    assert "it wins 50.0 % of the comparisons" in found.sentence() and "interval" not in found.sentence()
    assert found.plain()["gain"] == {"mean": 0.0, "low": None, "high": None}


def test_json_takes_it(random: np.random.Generator) -> None:
    ours, reference = scores(random), scores(random)
    for one in ours.values():
        one["VIF"] = NAN
    for one in reference.values():
        one["VIF"] = 1.0
    plain = compare(RANK, ours, reference).plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["metrics"]["VIF"] == {
        "pairs": 0,
        "ours": None,
        "reference": None,
        "difference": {"mean": None, "low": None, "high": None},
    }
    assert plain["gain"].keys() == {"mean", "low", "high"}
    assert plain["better"] in (True, False)


def test_the_sentences(random: np.random.Generator) -> None:
    ours, reference = scores(random, shift=0.1), scores(random)
    value = compare(SSIM, ours, reference)
    assert value.sentence("trial 7").startswith(
        "trial 7 is better than trial 0, the base settings: mean gain in SSIM +0."
    )
    rank: Comparison = compare(RANK, reference, ours)
    assert "is not shown to be better than" in rank.sentence()
    assert "% of the comparisons in SSIM, Qabf (95 % interval" in rank.sentence()
    assert "20 held-out pairs)" in rank.sentence()


def test_other_pairs_are_refused(random: np.random.Generator) -> None:
    ours = scores(random)
    with pytest.raises(ValueError, match="different pairs"):
        compare(SSIM, ours, dict(list(ours.items())[1:]))
    with pytest.raises(ValueError, match="no pair has a score in VIF"):
        compare(Objective.parse("VIF", ["IVIF"]), ours, ours)
