from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from refusion.config.layers import check
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.pbt import Pbt, lineage_of
from refusion.search.space.space import Space

BASE = check([{"schedule": {"rate": {"kind": "constant", "value": 1e-3}}}])
SPACE = Space.read(
    {"schedule.rate.value": {"low": 1e-4, "high": 1e-2, "log": True}, "schedule.inner_steps": {"low": 1, "high": 5}}
)


class Exchanges(list[tuple[int, int, int, dict[str, Any]]]):
    """Exchanges as ``on_exploit`` was told of them."""

    def __call__(self, trial: int, donor: int, epoch: int, values: dict[str, Any]) -> None:
        self.append((trial, donor, epoch, values))


def learn(number: int, values: Mapping[str, Any], epoch: int, weights: float) -> tuple[float, dict[str, float]]:
    """Weights grow with the rate; one metric follows them, the other likes few inner steps."""
    weights += 1000 * values["schedule.rate.value"]
    return weights, {"SSIM": weights / 100, "Qabf": weights / 100 - values["schedule.inner_steps"] / 50}


def pbt_stage(stage: Any, numbers: Any, epochs: int = 8, interval: int = 2, seed: int = 0) -> tuple[Any, Exchanges]:
    told = Exchanges()
    scoreboard = Scoreboard(Objective.parse("SSIM,Qabf", ["IVIF"]))
    ring = stage(Pbt(scoreboard, epochs, interval, SPACE, BASE, seed, told))
    for number in numbers:
        ring.add(number, **SPACE.sample(random.Random(f"start {number}")))
    return ring, told


def lineages(ring: Any) -> dict[int, list[dict[str, Any]]]:
    return {number: lineage_of(trial.config) for number, trial in ring.trials.items()}


def test_the_worst_goes_on_from_the_best_with_new_values(stage: Any) -> None:
    ring, told = pbt_stage(stage, range(1, 5))
    before = {number: trial.config["values"] for number, trial in ring.trials.items()}
    for number in (1, 2, 3):
        assert ring.report(number, 1, SSIM=0.1, Qabf=0.1) == "CONTINUE"
        ring.weights[number] = float(number)
        assert ring.report(number, 2, SSIM=0.5 - number / 10, Qabf=0.5 - number / 10) == "PAUSE"
    assert ring.turn() == 4
    assert ring.report(4, 2, SSIM=0.05, Qabf=0.05) == "PAUSE"
    assert told == []
    assert ring.turn() == 4, "before the checkpoint's owner replaces it"
    ((trial, donor, epoch, values),) = told
    assert (trial, donor, epoch) == (4, 1, 2)
    assert SPACE.contains(values) and values != before[1]
    config = ring.trials[4].config
    assert config["number"] == 4 and config["values"] == values and "start" not in config
    assert config["lineage"] == [
        {"epoch": 0, "from": None, "values": before[1]},
        {"epoch": 2, "from": 1, "values": values},
    ]
    assert [ring.trials[number].config["values"] for number in (1, 2, 3)] == [before[1], before[2], before[3]]
    assert ring.turn() == 4 and len(told) == 1, "a second question changes nothing"
    ring.start(4)
    assert (ring.epochs[4], ring.weights[4]) == (2, 1.0)


@pytest.mark.parametrize("first", [True, False])
def test_it_does_not_matter_how_far_the_default_trial_has_come(stage: Any, first: bool) -> None:
    """Alone, 1 and 2 are equal, so that the later one counts as the better; with 0 among them, 1 would be better."""
    ring, told = pbt_stage(stage, range(3))
    if first:
        ring.report(0, 2, SSIM=0.5, Qabf=0.5)
    ring.report(1, 2, SSIM=0.9, Qabf=0.1)
    ring.report(2, 2, SSIM=0.1, Qabf=0.2)
    ring.report(0, 2, SSIM=0.5, Qabf=0.5)
    ring.turn()
    scores = ring.scheduler.scores_at(2)
    assert scores[1] > scores[2]
    assert [(trial, donor) for trial, donor, *_ in told] == [(1, 2)]


def test_the_best_is_saved_first_where_it_comes_last(stage: Any) -> None:
    ring, told = pbt_stage(stage, range(1, 5))
    for number in (1, 2, 3):
        assert ring.report(number, 2, SSIM=number / 10, Qabf=number / 10) == "PAUSE"
    ring.weights[4] = 4.5
    assert ring.report(4, 2, SSIM=0.9, Qabf=0.9) == "PAUSE"
    assert ring.turn() == 1
    assert [(trial, donor) for trial, donor, *_ in told] == [(1, 4)]
    ring.start(1)
    assert ring.weights[1] == 4.5


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_exchanges_depend_on_the_seed_and_not_on_the_order_of_results(stage: Any, slots: int) -> None:
    def run(order: int, seed: int, state: int) -> Any:
        random.seed(state)
        ring, told = pbt_stage(stage, range(7), seed=seed)
        assert set(ring.run(learn, slots=slots, seed=order).values()) == {8}
        return lineages(ring), told

    first, told = run(order=1, seed=0, state=0)
    assert run(order=2, seed=0, state=99) == (first, told)
    assert run(order=1, seed=5, state=0)[0] != first
    assert {epoch for *_, epoch, _ in told} == {2, 4, 6}
    assert len(told) == 3 * 2, "a quarter of six, rounded up"


@pytest.mark.parametrize("order", range(3))
def test_the_default_trial_stays_what_it_is(stage: Any, order: int) -> None:
    ring, told = pbt_stage(stage, range(6))
    ring.trials[0].config["values"]["schedule.rate.value"] = 1e-5
    ring.run(learn, slots=2, seed=order)
    assert told and all(0 not in (trial, donor) for trial, donor, *_ in told)
    assert ring.weights[0] == pytest.approx(8 * 1000 * 1e-5)


def test_a_lineage_repeats_what_the_weights_went_through(stage: Any) -> None:
    ring, _ = pbt_stage(stage, range(1, 7))
    ring.run(learn)
    assert any(len(lineage) > 2 for lineage in lineages(ring).values())
    for number, lineage in lineages(ring).items():
        weights = 0.0
        for epoch in range(8):
            (values,) = [change["values"] for change in lineage if change["epoch"] <= epoch][-1:]
            weights, _ = learn(number, values, epoch + 1, weights)
        assert weights == ring.weights[number]


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("fails", [{3: 2}, {1: 1, 2: 3, 5: 6}, {1: 3, 2: 3, 3: 4, 4: 5, 5: 6}])
def test_nobody_waits_for_a_trial_that_failed(stage: Any, fails: dict[int, int], order: int) -> None:
    ring, _ = pbt_stage(stage, range(7))
    ended = ring.run(learn, slots=2, seed=order, fails=fails)
    assert {ended[number] for number in range(7) if number not in fails} == {8}


def test_a_trial_that_is_tried_again_does_not_go_by_what_it_had_reached(stage: Any) -> None:
    """One fails while the checkpoint of the exchange is being saved, and begins again from an older one."""
    ring, told = pbt_stage(stage, (1, 2))
    ring.report(1, 2, SSIM=0.9, Qabf=0.9)
    ring.trials[1].latest_checkpoint_result = None
    ring.fail(1, again=True)
    assert ring.report(2, 2, SSIM=0.1, Qabf=0.1) == "PAUSE"
    assert told == []
    assert ring.turn() == 1
    assert told == []
    ring.start(1)
    assert ring.report(1, 1, SSIM=0.8, Qabf=0.8) == "CONTINUE"
    assert ring.report(1, 2, SSIM=0.9, Qabf=0.9) == "PAUSE"
    assert ring.turn() == 2
    assert [(trial, donor) for trial, donor, *_ in told] == [(2, 1)]


def test_the_others_wait_for_a_trial_that_is_tried_again(stage: Any) -> None:
    ring, told = pbt_stage(stage, (1, 2, 3))
    for number in (1, 2):
        ring.report(number, 2, SSIM=number / 10, Qabf=number / 10)
    ring.start(3)
    ring.fail(3, again=True)
    assert ring.turn() == 3 and told == []
    ring.report(3, 2, SSIM=0.9, Qabf=0.9)
    assert ring.turn() == 1
    assert [(trial, donor) for trial, donor, *_ in told] == [(1, 3)]


@pytest.mark.parametrize("last", [1, 2])
def test_an_exchange_waits_until_the_worst_and_the_best_are_saved(stage: Any, last: int) -> None:
    """Tune would take up what is left of a save after the trial went on from another checkpoint."""
    ring, told = pbt_stage(stage, (1, 2))
    for number in (1, 2):
        ring.weights[number] = float(number)
        assert ring.report(number, 2, saves=number != last, SSIM=number / 10, Qabf=number / 10) == "PAUSE"
    assert ring.turn() is None and told == []
    ring.pause(last)
    assert ring.turn() == 1 and [(trial, donor) for trial, donor, *_ in told] == [(1, 2)]
    ring.start(1)
    assert ring.weights[1] == 2.0


def test_a_resumed_population_goes_on_to_its_next_exchange(stage: Any) -> None:
    told = Exchanges()
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    for number in (1, 2, 3):
        for epoch in range(1, 5):
            scoreboard.add(number, epoch, {"SSIM": number / 10})
    ring = stage(Pbt(scoreboard, 8, 2, SPACE, BASE, 0, told))
    for number in (1, 2, 3):
        ring.add(number, **SPACE.sample(random.Random(number)))
    assert [ring.report(number, 5, SSIM=number / 10) for number in (1, 2, 3)] == ["CONTINUE"] * 3
    assert [ring.report(number, 6, SSIM=number / 10) for number in (1, 2, 3)] == ["PAUSE"] * 3
    assert ring.turn() == 1
    assert [(trial, donor, epoch) for trial, donor, epoch, _ in told] == [(1, 3, 6)]


def test_what_a_trial_trained_beyond_its_donor_is_forgotten(stage: Any) -> None:
    ring, _ = pbt_stage(stage, (1, 2))
    ring.scheduler._has_reports = True
    for epoch in (1, 2, 3):
        ring.scheduler.scoreboard.add(1, epoch, {"SSIM": 0.1, "Qabf": 0.1})
    ring.report(1, 3, SSIM=0.1, Qabf=0.1)
    ring.report(2, 2, SSIM=0.9, Qabf=0.9)
    ring.turn()
    assert sorted(ring.scheduler.scoreboard.histories[1]) == [1, 2]
    assert ring.trials[1].config["lineage"][-1]["epoch"] == 2


def test_two_trials_that_lost_their_numbers_are_replaced_first(stage: Any) -> None:
    ring, told = pbt_stage(stage, range(1, 9))
    for number in range(1, 9):
        lost = number in (5, 7)
        ring.report(number, 2, SSIM=float("nan") if lost else 0.5, Qabf=float("nan") if lost else number / 10)
    ring.turn()
    assert sorted(trial for trial, *_ in told) == [5, 7]
    assert {donor for _, donor, *_ in told} <= {6, 8}
