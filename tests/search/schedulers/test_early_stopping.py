from __future__ import annotations

import math
from typing import Any

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.early_stopping import Asha, Median


def scoreboard(text: str = "SSIM") -> Scoreboard:
    return Scoreboard(Objective.parse(text, ["IVIF"]))


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
