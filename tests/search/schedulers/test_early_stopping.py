from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.early_stopping import (
    Asha,
    HyperBand,
    Median,
    asha_rungs,
    hyperband_rungs,
    hyperband_starts,
)


def scoreboard(text: str = "SSIM") -> Scoreboard:
    return Scoreboard(Objective.parse(text, ["IVIF"]))


def by_number(number: int, values: Mapping[str, Any], epoch: int, weights: float) -> tuple[float, dict[str, float]]:
    """Higher numbers are better at every epoch."""
    return weights + 1, {"SSIM": number / 100}


@pytest.mark.parametrize("epochs", [2, 3, 9, 10, 27, 81, 243, 1000])
@pytest.mark.parametrize("factor", [2, 3, 10])
def test_the_rungs_are_those_at_which_tune_decides(epochs: int, factor: int) -> None:
    (bracket,) = Asha(scoreboard(), epochs, 1, factor)._brackets
    assert [rung for rung, _ in reversed(bracket._rungs) if rung < epochs] == asha_rungs(epochs, 1, factor)


def test_asha_stops_below_the_top_third_of_a_rung(stage: Any) -> None:
    ring = stage(Asha(scoreboard(), 9, 1, 3)).add(*range(1, 8))
    # The cutoffs are the 66.7th percentiles of who came before: –, 0.5, 0.567, 0.6, 0.6 and 0.633.
    scores = [0.5, 0.6, 0.56, 0.7, 0.59, 0.61]
    decisions = [ring.report(number, 1, SSIM=score) for number, score in enumerate(scores, start=1)]
    assert decisions == ["CONTINUE", "CONTINUE", "STOP", "CONTINUE", "STOP", "CONTINUE"]
    assert ring.report(2, 2, SSIM=0.0) == "CONTINUE", "no rung"
    assert ring.report(4, 3, SSIM=0.7) == "CONTINUE", "the first at this rung"
    assert ring.report(2, 3, SSIM=0.69) == "STOP"


def test_asha_judges_the_earlier_members_of_a_rung_anew(stage: Any) -> None:
    """Each of five was the best when it came; with the scores of that moment the sixth, second best, would stop."""
    ring = stage(Asha(scoreboard("SSIM,Qabf"), 9, 1, 3)).add(*range(1, 7))
    for number in range(1, 6):
        assert ring.report(number, 1, SSIM=number / 10, Qabf=number / 10) == "CONTINUE"
    assert ring.report(6, 1, SSIM=0.45, Qabf=0.45) == "CONTINUE"


def test_asha_counts_trials_of_an_earlier_part_of_the_sweep(stage: Any) -> None:
    known = scoreboard()
    for number, score in ((11, 0.5), (12, 0.6), (13, 0.7)):
        known.add(number, 1, {"SSIM": score})
    ring = stage(Asha(known, 9, 1, 3)).add(1, 2)
    assert ring.report(1, 1, SSIM=0.55) == "STOP"
    assert ring.report(2, 1, SSIM=0.65) == "CONTINUE"


def test_asha_does_not_try_a_resumed_trial_again_at_a_rung_that_it_passed(stage: Any) -> None:
    known = scoreboard()
    for number, score in ((1, 0.1), (2, 0.9), (3, 0.9)):
        known.add(number, 1, {"SSIM": score})
    ring = stage(Asha(known, 9, 1, 3)).add(1)
    assert ring.report(1, 2, SSIM=0.1) == "CONTINUE"
    assert ring.report(1, 3, SSIM=0.1) == "CONTINUE", "nobody else is there"


def test_asha_stops_lost_numbers_at_any_epoch_and_a_rung_copes_with_them(stage: Any) -> None:
    known = scoreboard()
    ring = stage(Asha(known, 9, 1, 3)).add(0, 1, 2, 3, 4)
    for number in (1, 2):
        ring.report(number, 1, SSIM=0.5)
    assert ring.report(1, 2, SSIM=math.nan) == "STOP"
    known.add(8, 1, {"SSIM": math.nan})
    assert ring.report(3, 1, SSIM=0.1) == "STOP"
    for number in range(10, 30):
        known.add(number, 1, {"SSIM": math.nan})
    assert ring.report(4, 1, SSIM=0.1) == "CONTINUE"
    assert ring.report(0, 1, SSIM=math.nan) == "CONTINUE", "the default trial"


def test_the_default_trial_is_never_stopped_but_counts_for_the_others(stage: Any) -> None:
    ring = stage(Asha(scoreboard(), 9, 1, 3)).add(0, 1, 2)
    assert ring.report(1, 1, SSIM=0.9) == "CONTINUE"
    assert [ring.report(0, epoch, SSIM=0.5) for epoch in range(1, 10)] == ["CONTINUE"] * 8 + ["STOP"]
    assert ring.report(2, 1, SSIM=0.4) == "STOP"


@pytest.mark.parametrize(
    ("epochs", "grace", "factor", "starts", "rungs"),
    [
        (9, 1, 3, [9, 3, 1], [1, 3]),
        (10, 1, 3, [10, 3, 1], [1, 3]),
        (9, 2, 3, [9, 3], [3]),
        (243, 1, 3, [243, 81, 27, 9, 3, 1], [1, 3, 9, 27, 81]),
        (16, 4, 2, [16, 8, 4], [4, 8]),
        (3, 3, 3, [3], []),
    ],
)
def test_the_brackets_of_hyperband(epochs: int, grace: int, factor: int, starts: list[int], rungs: list[int]) -> None:
    assert hyperband_starts(epochs, grace, factor) == starts
    assert hyperband_rungs(epochs, grace, factor) == rungs
    scheduler = HyperBand(scoreboard(), epochs, grace, factor)
    assert [scheduler._create_bracket(s)._r for s in range(len(starts))] == starts


@pytest.mark.parametrize("seed", range(4))
def test_hyperband_halves_each_bracket_to_its_best(stage: Any, seed: int) -> None:
    ring = stage(HyperBand(scoreboard(), 10, 1, 3)).add(*range(18))
    ended = ring.run(by_number, slots=2, seed=seed)
    # 1–3 are in the bracket that stops nobody, 4–8 in that of rung 3, 9–17 in that of 1 and 3.
    stopped = {number: epoch for number, epoch in ended.items() if epoch < 10}
    assert stopped == {4: 3, 5: 3, 6: 3, 9: 1, 10: 1, 11: 1, 12: 1, 13: 1, 14: 1, 15: 3, 16: 3}


def test_hyperband_compares_by_scores_of_the_rungs_epoch_at_that_moment(stage: Any) -> None:
    """3 is the best, but had only half a rank when it came, alone; 5 has that too, for 4 is worse."""
    ring = stage(HyperBand(scoreboard("SSIM,Qabf"), 9, 3, 3)).add(*range(1, 6))
    # 1 and 2 fill the bracket without rungs; 3, 4, 5 that of rung 3.
    for epoch in (1, 2):
        for number in (3, 4, 5):
            assert ring.report(number, epoch, SSIM=0.9, Qabf=0.9) == "CONTINUE"
    decisions = [ring.report(number, 3, SSIM=score, Qabf=score) for number, score in ((3, 0.9), (4, 0.1), (5, 0.5))]
    assert decisions == ["PAUSE", "PAUSE", "STOP"]
    assert [ring.trials[number].status for number in (3, 4, 5)] == ["PAUSED", "TERMINATED", "TERMINATED"]
    assert ring.scheduler.choose_trial_to_run(ring).config["number"] in (1, 2, 3)


@pytest.mark.parametrize("seed", range(4))
def test_hyperband_does_not_wait_for_trials_that_failed(stage: Any, seed: int) -> None:
    """At every rung one fails on its way there, some while all others already wait."""
    ring = stage(HyperBand(scoreboard(), 9, 1, 3)).add(*range(18))
    ended = ring.run(by_number, slots=2, seed=seed, fails={9: 1, 17: 2, 16: 3, 8: 2, 3: 5})
    assert ended[15] == 9 and ended[7] == 9


def test_hyperband_wakes_trials_that_are_ahead_of_their_bracket(stage: Any) -> None:
    known = scoreboard()
    scheduler = HyperBand(known, 9, 1, 3)
    ring = stage(scheduler).add(*range(1, 11))
    for number in (9, 10):
        for epoch in range(1, 7):
            known.add(number, epoch, {"SSIM": number / 10})
    assert [ring.report(number, 7, SSIM=1.0) for number in (9, 10)] == ["PAUSE", "CONTINUE"]
    assert scheduler.choose_trial_to_run(ring).config["number"] in range(1, 10)


def test_hyperband_fills_its_brackets_though_trials_come_one_by_one(stage: Any) -> None:
    """The bracket that stops nobody has three places, whether or not their trials have ended."""
    ring = stage(HyperBand(scoreboard(), 9, 1, 3))
    for number in (1, 2, 3):
        ring.add(number)
        assert [ring.report(number, epoch, SSIM=0.1) for epoch in range(1, 10)] == ["CONTINUE"] * 8 + ["STOP"]
    ring.add(4, 5)
    assert [ring.report(4, epoch, SSIM=0.1) for epoch in (1, 2, 3)] == ["CONTINUE", "CONTINUE", "PAUSE"]


def test_hyperband_waits_for_a_trial_that_is_tried_again(stage: Any) -> None:
    ring = stage(HyperBand(scoreboard(), 9, 3, 3)).add(*range(1, 6))
    for number in (3, 4):
        assert ring.report(number, 3, SSIM=number / 10) == "PAUSE"
    ring.fail(4, again=True)
    assert ring.report(5, 3, SSIM=0.1) == "PAUSE"
    assert ring.scheduler.choose_trial_to_run(ring).status == "PENDING"
    assert ring.report(4, 3, SSIM=0.4) == "CONTINUE"
    assert [ring.trials[number].status for number in (3, 4, 5)] == ["TERMINATED", "RUNNING", "TERMINATED"]


def test_hyperband_starts_the_default_trial_first(stage: Any) -> None:
    ring = stage(HyperBand(scoreboard(), 9, 1, 3)).add(1, 2, 0)
    assert ring.scheduler.choose_trial_to_run(ring).config["number"] == 0
    ring.start(0)
    ring.fail(0)
    assert ring.scheduler.choose_trial_to_run(ring).config["number"] == 1


def test_the_median_rule_compares_a_best_score_with_the_others_means(stage: Any) -> None:
    ring = stage(Median(scoreboard(), 9, 2)).add(*range(1, 6))
    for number, level in ((1, 0.2), (2, 0.4), (3, 0.6)):
        # The first epoch is within the grace and must not count.
        assert [ring.report(number, epoch, SSIM=level + (epoch == 1)) for epoch in (1, 2, 3)] == ["CONTINUE"] * 3
    assert [ring.report(4, epoch, SSIM=0.1) for epoch in (1, 2)] == ["CONTINUE", "STOP"]
    assert [ring.report(5, epoch, SSIM=0.41) for epoch in (1, 2, 3)] == ["CONTINUE"] * 3


def test_the_median_rule_needs_three_others_that_came_as_far(stage: Any) -> None:
    ring = stage(Median(scoreboard(), 9, 1)).add(1, 2, 3, 4)
    for number in (1, 2, 3):
        ring.report(number, 1, SSIM=0.9)
    assert ring.report(1, 2, SSIM=0.9) == "CONTINUE"
    assert ring.report(2, 2, SSIM=0.1) == "CONTINUE"
    assert ring.report(4, 1, SSIM=0.1) == "STOP"


def test_the_median_rule_counts_earlier_trials_and_judges_all_anew(stage: Any) -> None:
    known = scoreboard("SSIM,Qabf")
    for number in (11, 12, 13):
        known.add(number, 1, {"SSIM": number / 100, "Qabf": number / 100})
    ring = stage(Median(known, 9, 1)).add(0, 1, 2)
    assert ring.report(1, 1, SSIM=0.01, Qabf=0.01) == "STOP"
    assert ring.report(0, 1, SSIM=0.001, Qabf=0.001) == "CONTINUE"
    # Above the median (0.5) of the five others' ranks of now.
    assert ring.report(2, 1, SSIM=0.125, Qabf=0.125) == "CONTINUE"
