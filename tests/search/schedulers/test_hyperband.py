from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.hyperband import HyperBand, hyperband_rungs, hyperband_starts


def scoreboard(text: str = "SSIM") -> Scoreboard:
    return Scoreboard(Objective.parse(text, ["IVIF"]))


def by_number(number: int, values: Mapping[str, Any], epoch: int, weights: float) -> tuple[float, dict[str, float]]:
    """Higher numbers are better at every epoch."""
    return weights + 1, {"SSIM": number / 100}


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
    assert [scheduler.new_bracket(s).rung for s in range(len(starts))] == starts


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
    assert ring.turn() in (1, 2, 3)


@pytest.mark.parametrize("seed", range(4))
def test_hyperband_does_not_wait_for_trials_that_failed(stage: Any, seed: int) -> None:
    """One trial fails on its way to each rung, some while all others already wait."""
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
    assert ring.turn() in range(1, 10)


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
    assert ring.trials[ring.turn()].status == "PENDING"
    assert ring.report(4, 3, SSIM=0.4) == "CONTINUE"
    assert [ring.trials[number].status for number in (3, 4, 5)] == ["TERMINATED", "RUNNING", "TERMINATED"]


def test_hyperband_starts_the_default_trial_first(stage: Any) -> None:
    ring = stage(HyperBand(scoreboard(), 9, 1, 3)).add(1, 2, 0)
    assert ring.turn() == 0
    ring.start(0)
    ring.fail(0)
    assert ring.turn() == 1
