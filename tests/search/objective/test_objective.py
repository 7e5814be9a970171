from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from refusion.errors import UserError
from refusion.metrics import CATALOGUE
from refusion.search.objective.objective import (
    Goal,
    Objective,
    average_ranks,
    best_trial,
    front,
    scores_at,
    standings,
)
from refusion.search.options import DEFAULT_OBJECTIVE

NAN = math.nan
ONE = ("IVIF",)


def history(*epochs: dict[str, float]) -> dict[int, dict[str, float]]:
    return dict(enumerate(epochs, start=1))


def test_one_metric_is_a_value() -> None:
    assert Objective.parse("SSIM", ONE) == Objective("value", (Goal("SSIM"),), "SSIM")


def test_several_metrics_are_a_weighted_rank() -> None:
    objective = Objective.parse("ssim, Qabf:2,VIF:0.5", ONE)
    assert objective.kind == "rank"
    assert objective.goals == (Goal("SSIM"), Goal("Qabf", 2.0), Goal("VIF", 0.5))


def test_every_metric_counts_once_per_task() -> None:
    objective = Objective.parse("pareto:SSIM,Qabf:2", ("IVIF", "MIF"))
    assert objective.kind == "pareto"
    assert [(goal.key, goal.weight) for goal in objective.goals] == [
        ("IVIF/SSIM", 1),
        ("IVIF/Qabf", 2),
        ("MIF/SSIM", 1),
        ("MIF/Qabf", 2),
    ]
    assert Objective.parse("SSIM", ("IVIF", "MIF")).kind == "rank"


@pytest.mark.parametrize("text", ["SSIM", "SSIM,Qabf:2.5", "pareto:VIF,EN", DEFAULT_OBJECTIVE])
def test_the_text_reads_back(text: str) -> None:
    objective = Objective.parse(text, ONE)
    assert Objective.parse(objective.text, ONE) == objective


def test_the_direction_comes_from_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(goal.higher for goal in Objective.parse(DEFAULT_OBJECTIVE, ONE).goals)
    monkeypatch.setitem(CATALOGUE, "SSIM", dataclasses.replace(CATALOGUE["SSIM"], direction="lower"))
    objective = Objective.parse("SSIM", ONE)
    assert scores_at(objective, {1: history({"SSIM": 0.2}), 2: history({"SSIM": 0.1})}, 1) == {1: -0.2, 2: -0.1}


def test_a_metric_that_takes_too_long_for_every_epoch_is_none_to_search_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "Q_XY", dataclasses.replace(CATALOGUE["SSIM"], name="Q_XY"))
    with pytest.raises(UserError, match="Q_XY is not measured while training; choose from EN, SD"):
        Objective.parse("Q_XY", ONE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SIMM", "there is no metric 'SIMM'; did you mean SSIM?"),
        ("SSIM,xyz", "there is no metric 'xyz'; choose from EN, SD"),
        ("EN", "noise raises EN, .* at least one of SCD, SSIM, VIF, Qabf"),
        ("pareto:AG,SF", "noise raises AG, SF"),
        ("SSIM,ssim", "SSIM is named twice"),
        ("SSIM:0,VIF", "the weight of SSIM must be a positive number"),
        ("SSIM:,VIF", "the weight of SSIM must be a positive number"),
        ("SSIM:inf,VIF", "the weight of SSIM must be a positive number"),
        ("pareto:SSIM", "needs at least two metrics"),
        ("pareto:", "name metrics"),
        ("", "name metrics"),
        ("SSIM,", "name metrics"),
    ],
)
def test_misuse_is_explained(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        Objective.parse(text, ONE)
    assert str(error.value).startswith(f"--objective {text}: ")


def test_a_noisy_metric_may_count_beside_others() -> None:
    assert [goal.key for goal in Objective.parse("EN,SSIM", ONE).goals] == ["EN", "SSIM"]


def test_value_scores_are_the_metric_of_just_that_epoch() -> None:
    objective = Objective.parse("SSIM", ONE)
    histories = {
        0: history({"SSIM": 0.5}, {"SSIM": 0.6}),
        1: history({"SSIM": 0.7}),
        2: history({"SSIM": NAN}),
        3: history({"loss": 1.0}),
        4: {},
    }
    assert scores_at(objective, histories, 1) == {0: 0.5, 1: 0.7, 2: -math.inf, 3: -math.inf}
    assert scores_at(objective, histories, 2) == {0: 0.6}
    assert scores_at(objective, histories, 9) == {}
    assert best_trial(objective, histories, 1) == 1
    assert best_trial(objective, histories, 9) is None


def test_rank_scores_are_the_share_that_is_beaten() -> None:
    objective = Objective.parse("SSIM,Qabf:3", ONE)
    histories = {
        7: history({"SSIM": 0.9, "Qabf": 0.1}),
        8: history({"SSIM": 0.5, "Qabf": 0.9}),
        9: history({"SSIM": 0.5, "Qabf": NAN}),
    }
    # SSIM: 7 beats both, 8 and 9 tie; Qabf: 8 before 7 before 9.
    assert scores_at(objective, histories, 1) == pytest.approx(
        {7: (1 * 1 + 3 * 0.5) / 4, 8: (0.25 + 3 * 1) / 4, 9: 0.25 / 4}
    )
    assert average_ranks(objective, histories, 1) == pytest.approx({7: 1.75, 8: 1.375, 9: 2.875})
    assert best_trial(objective, histories, 1) == 8


def test_a_trial_alone_is_in_the_middle() -> None:
    for text in ("SSIM,Qabf", "pareto:SSIM,Qabf"):
        assert scores_at(Objective.parse(text, ONE), {4: history({"SSIM": 1.0, "Qabf": 0.0})}, 1) == {4: 0.5}


def test_ranks_do_not_depend_on_the_scale_of_a_metric() -> None:
    objective = Objective.parse("SSIM,SCD", ONE)
    random = np.random.default_rng(0)
    drawn = random.normal(size=(8, 2))
    plain = {number: history({"SSIM": row[0], "SCD": row[1]}) for number, row in enumerate(drawn)}
    scaled = {number: history({"SSIM": row[0] * 1e-6, "SCD": row[1] ** 3 + 50}) for number, row in enumerate(drawn)}
    assert scores_at(objective, plain, 1) == scores_at(objective, scaled, 1)


def test_equal_trials_score_equally_and_the_lower_number_is_best() -> None:
    objective = Objective.parse(DEFAULT_OBJECTIVE, ONE)
    same = history({"SSIM": 0.5, "Qabf": 0.5, "VIF": 0.5, "SCD": 0.5})
    histories = {5: same, 3: same, 4: same}
    assert scores_at(objective, histories, 1) == {3: 0.5, 4: 0.5, 5: 0.5}
    assert best_trial(objective, histories, 1) == 3


def test_what_has_no_number_is_never_the_best() -> None:
    histories = {1: history({"SSIM": NAN}), 2: history({"SSIM": -0.9})}
    assert best_trial(Objective.parse("SSIM", ONE), histories, 1) == 2
    assert best_trial(Objective.parse("SSIM", ONE), {1: histories[1]}, 1) is None


def test_the_front_and_its_order() -> None:
    objective = Objective.parse("pareto:SSIM,Qabf", ONE)
    points = {1: (1.0, 0.0), 2: (0.8, 0.8), 3: (0.0, 1.0), 4: (0.7, 0.7), 5: (0.1, NAN)}
    histories = {number: history({"SSIM": x, "Qabf": y}) for number, (x, y) in points.items()}
    assert front(objective, histories, 1) == [1, 2, 3]
    scores = scores_at(objective, histories, 1)
    assert scores[2] == 1.0
    assert min(scores[1], scores[3]) > scores[4] > scores[5] == 0.0
    assert best_trial(objective, histories, 1) == 2


def test_standings_of_equally_long_histories_are_the_last_rank_scores() -> None:
    objective = Objective.parse("SSIM,Qabf:2,VIF", ONE)
    random = np.random.default_rng(3)
    histories = {
        number: history(*({key: random.normal() for key in ("SSIM", "Qabf", "VIF")} for _ in range(4)))
        for number in range(9)
    }
    assert standings(objective, histories) == pytest.approx(scores_at(objective, histories, 4))


def test_standings_compare_each_two_at_their_highest_common_epoch() -> None:
    objective = Objective.parse("SSIM", ONE)
    ahead_then_behind = history({"SSIM": 0.6}, {"SSIM": 0.6})
    late = history({"SSIM": 0.5}, {"SSIM": 0.9})
    stopped = history({"SSIM": 0.4})
    # 1 against 2 counts at epoch 2, both against 3 at epoch 1.
    assert standings(objective, {1: ahead_then_behind, 2: late, 3: stopped}) == {1: 0.5, 2: 1.0, 3: 0.0}


def test_standings_by_the_plain_definition() -> None:
    objective = Objective.parse("SSIM,Qabf:2", ONE)
    random = np.random.default_rng(5)
    histories = {
        number: {
            epoch: {"SSIM": float(random.integers(3)), "Qabf": float(random.integers(3))}
            for epoch in range(1, 7)
            if random.random() < 0.6
        }
        for number in range(12)
    }
    expected = {}
    for one, own in histories.items():
        won = []
        for other, its in histories.items():
            common = own.keys() & its.keys()
            if one == other or not common:
                continue
            mine, theirs = own[max(common)], its[max(common)]
            won.append(sum(w * (0.5 + 0.5 * np.sign(mine[k] - theirs[k])) for k, w in (("SSIM", 1), ("Qabf", 2))) / 3)
        if own:
            expected[one] = sum(won) / len(won) if won else 0.5
    assert standings(objective, histories) == pytest.approx(expected)


def test_standings_skip_epochs_without_validation_and_trials_without_results() -> None:
    objective = Objective.parse("SSIM", ONE)
    histories = {
        1: history({"SSIM": 0.4}, {"loss": 3.0}),
        2: history({"SSIM": 0.5}, {"loss": 2.0}),
        3: {},
        4: {2: {"loss": 1.0}},
    }
    assert standings(objective, histories) == {1: 0.0, 2: 1.0}
    assert standings(objective, {}) == {}


def test_a_trial_that_dominates_stands_above() -> None:
    objective = Objective.parse("pareto:SSIM,Qabf,VIF", ONE)
    random = np.random.default_rng(1)
    histories = {
        number: history({key: float(random.integers(4)) for key in ("SSIM", "Qabf", "VIF")}) for number in range(30)
    }
    stood = standings(objective, histories)
    pairs = 0
    for one, own in histories.items():
        for other, its in histories.items():
            if all(own[1][k] >= its[1][k] for k in its[1]) and own != its:
                assert stood[one] > stood[other]
                pairs += 1
    assert pairs > 20
