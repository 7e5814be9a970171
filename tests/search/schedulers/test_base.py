from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import SCORE, WORST, ScoredScheduler


def scoreboard(text: str = "SSIM") -> Scoreboard:
    return Scoreboard(Objective.parse(text, ["IVIF"]))


def test_a_result_gets_its_score_among_all_that_the_judge_knows(stage: Any) -> None:
    known = scoreboard("SSIM,Qabf")
    known.add(7, 1, {"SSIM": 0.5, "Qabf": 0.5})
    scheduler = ScoredScheduler(known, epochs=3)
    ring = stage(scheduler).add(1, 2)
    result = {"number": 1, "epoch": 1, "SSIM": 0.6, "Qabf": 0.4, "pid": 17, "config/values/rate": 0.1, "done": False}
    assert scheduler.on_trial_result(ring, ring.trials[1], result) == "CONTINUE"
    assert result[SCORE] == 0.5
    assert known.histories[1] == {1: {"SSIM": 0.6, "Qabf": 0.4}}
    ring.report(2, 1, SSIM=0.7, Qabf=0.7)
    assert scheduler.scores_at(1) == {1: 0.25, 2: 1.0, 7: 0.25}


def test_every_trial_ends_at_the_last_epoch_and_no_earlier(stage: Any) -> None:
    ring = stage(ScoredScheduler(scoreboard(), epochs=2)).add(0, 1)
    for number in (0, 1):
        assert ring.report(number, 1, SSIM=math.nan) == "CONTINUE"
        assert ring.report(number, 2, SSIM=0.1) == "STOP"


def test_trials_that_end_by_themselves_are_told_and_never_stopped(stage: Any) -> None:
    scheduler = ScoredScheduler(scoreboard(), epochs=2)
    decisions: list[tuple[int, int, bool]] = []
    scheduler.on_decision = lambda *decision: decisions.append(decision)
    ring = stage(scheduler).add(0, 1)
    for number in (0, 1):
        for epoch in (1, 2):
            assert ring.report(number, epoch, SSIM=0.5) == "CONTINUE"
    assert decisions == [(0, 1, True), (0, 2, False), (1, 1, True), (1, 2, False)]


def test_a_last_result_that_ends_its_trial_is_judged_too(stage: Any) -> None:
    known = scoreboard()
    ring = stage(ScoredScheduler(known, epochs=2)).add(1)
    ring.report(1, 2, done=True, SSIM=0.4)
    assert known.score(1, 2) == 0.4


def test_a_problem_leaves_what_was_measured_before(stage: Any) -> None:
    known = scoreboard()
    scheduler = ScoredScheduler(known, epochs=4)
    ring = stage(scheduler).add(1)
    ring.report(1, 1, SSIM=0.4)
    ring.results[1] = {"number": 1, "epoch": 1, "problem": "diverged: NaN", "done": True}
    ring.stop_trial(ring.trials[1])
    assert known.histories == {1: {1: {"SSIM": 0.4}}}


def test_a_trial_that_ends_without_any_result_is_no_trouble(stage: Any) -> None:
    known = scoreboard()
    ring = stage(ScoredScheduler(known, epochs=4)).add(1)
    ring.start(1)
    ring.stop_trial(ring.trials[1])
    assert known.histories == {}


def test_between_validations_the_last_one_counts() -> None:
    scheduler = ScoredScheduler(scoreboard(), epochs=9)
    for number, score in ((1, 0.1), (2, 0.2), (3, 0.3)):
        scheduler.scoreboard.add(number, 1, {"loss": 1.0})
        scheduler.scoreboard.add(number, 2, {"loss": 1.0, "SSIM": score})
        if number < 3:
            scheduler.scoreboard.add(number, 3, {"loss": 1.0})
    assert scheduler.scores_at(1) == {}
    assert scheduler.scores_at(3) == {1: 0.1, 2: 0.2}
    assert scheduler.scores_at(2, among={1, 3}) == {1: 0.1, 3: 0.3}


def test_trials_left_out_do_not_change_the_others_ranks() -> None:
    scheduler = ScoredScheduler(scoreboard("SSIM,Qabf"), epochs=9)
    for number, (one, other) in enumerate([(0.9, 0.1), (0.5, 0.5), (0.1, 0.2)]):
        scheduler.scoreboard.add(number, 1, {"SSIM": one, "Qabf": other})
    assert scheduler.scores_at(1)[1] > scheduler.scores_at(1)[0]
    pair = scheduler.scores_at(1, among={0, 2})
    assert pair == {0: 0.5, 2: 0.5}


def test_lost_numbers_are_the_worst_but_finite() -> None:
    scheduler = ScoredScheduler(scoreboard(), epochs=9)
    scheduler.scoreboard.add(1, 1, {"SSIM": math.nan})
    scheduler.scoreboard.add(2, 1, {"SSIM": -0.5})
    assert scheduler.scores_at(1) == {1: WORST, 2: -0.5}


def test_tune_neither_asks_trials_for_scores_nor_keeps_a_scheduler() -> None:
    scheduler = ScoredScheduler(scoreboard(), epochs=9)
    assert scheduler.metric is None
    assert pickle.loads(pickle.dumps({"scheduler": scheduler})) == {"scheduler": None}


def test_a_result_without_an_epoch_is_a_mistake(stage: Any) -> None:
    scheduler = ScoredScheduler(scoreboard(), epochs=9)
    ring = stage(scheduler).add(1)
    with pytest.raises(KeyError):
        scheduler.on_trial_result(ring, ring.trials[1], {"SSIM": 1.0})
