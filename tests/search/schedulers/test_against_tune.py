"""Our schedulers on Tune's public interface decide as Tune's own do, where scores do not change with new results."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, MedianStoppingRule

from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.early_stopping import Asha, Median, asha_rungs
from refusion.search.schedulers.hyperband import HyperBand

TUNES: dict[str, Any] = {"time_attr": "epoch", "metric": "SSIM", "mode": "max"}


def scoreboard() -> Scoreboard:
    return Scoreboard(Objective.parse("SSIM", ["IVIF"]))


class Alone:
    """A controller with nothing else to run."""

    def get_live_trials(self) -> list[Any]:
        return []


def decide(scheduler: Any, trial: Any, epoch: int, score: float) -> str:
    result = {"number": trial.config["number"], "epoch": epoch, "training_iteration": epoch, "SSIM": score}
    return str(scheduler.on_trial_result(Alone(), trial, result))


def trial(number: int) -> Any:
    return SimpleTrial(config={"number": number}, trial_id=f"id{number}", status="RUNNING")


class SimpleTrial(SimpleNamespace):
    __hash__ = object.__hash__


def reports(seed: int, trials: int, epochs: int, digits: int) -> Iterator[tuple[int, int, float]]:
    """(trial, epoch, score) in random order, scores with ties; what a trial would report after its end is left out."""
    drawn = random.Random(seed)
    levels = {number: drawn.gauss(0.5, 0.2) for number in range(1, trials + 1)}
    coming = {number: itertools.count(1) for number in levels}
    while coming:
        number = drawn.choice(sorted(coming))
        epoch = next(coming[number])
        ended = yield number, epoch, round(levels[number] + drawn.gauss(0, 0.1), digits)
        if ended or epoch >= epochs:
            del coming[number]


def in_step(ours: Any, theirs: Any, seed: int, trials: int, epochs: int, digits: int) -> list[str]:
    """Decisions of both schedulers on the same reports, which must be the same."""
    known = {number: trial(number) for number in range(1, trials + 1)}
    for one in known.values():
        ours.on_trial_add(Alone(), one)
        theirs.on_trial_add(Alone(), one)
    stream = reports(seed, trials, epochs, digits)
    decisions: list[str] = []
    number, epoch, score = next(stream)
    while True:
        decision = decide(ours, known[number], epoch, score)
        if epoch < epochs:
            assert decision == decide(theirs, known[number], epoch, score), (len(decisions), number, epoch)
        decisions.append(decision)
        try:
            number, epoch, score = stream.send(decision == "STOP")
        except StopIteration:
            return decisions


@pytest.mark.parametrize("seed", range(12))
def test_asha_decides_as_tunes(seed: int) -> None:
    grace, factor, epochs = 1 + seed % 3, 2 + seed % 4, 9 + 9 * (seed % 3)
    ours = Asha(scoreboard(), epochs, grace, factor)
    theirs = AsyncHyperBandScheduler(**TUNES, max_t=epochs, grace_period=grace, reduction_factor=factor)
    decisions = in_step(ours, theirs, seed, trials=40, epochs=epochs, digits=1 + seed % 5)
    assert 10 < decisions.count("STOP") <= 40


@pytest.mark.parametrize("seed", range(12))
def test_the_median_rule_decides_as_tunes(seed: int) -> None:
    grace, epochs = 1 + seed % 4, 6 + seed
    ours = Median(scoreboard(), epochs, grace)
    theirs = MedianStoppingRule(**TUNES, grace_period=grace)
    decisions = in_step(ours, theirs, seed, trials=25, epochs=epochs, digits=1 + seed % 5)
    assert decisions.count("STOP") == 25 and decisions.count("CONTINUE") > 25


@pytest.mark.parametrize("epochs", [2, 3, 9, 10, 27, 81, 243, 1000])
@pytest.mark.parametrize("factor", [2, 3, 10])
def test_the_rungs_are_those_at_which_tune_decides(epochs: int, factor: int) -> None:
    """A trial that is always the worse of two is to be stopped at each rung, and at no other epoch."""
    theirs = AsyncHyperBandScheduler(**TUNES, max_t=epochs, grace_period=1, reduction_factor=factor)
    good, bad = trial(1), trial(2)
    for one in (good, bad):
        theirs.on_trial_add(Alone(), one)
    decisions = {
        epoch: (decide(theirs, good, epoch, 1.0), decide(theirs, bad, epoch, 0.0)) for epoch in range(1, epochs)
    }
    assert [epoch for epoch, (_, decision) in decisions.items() if decision == "STOP"] == asha_rungs(epochs, 1, factor)
    assert {decision for decision, _ in decisions.values()} <= {"CONTINUE"}


@pytest.mark.parametrize(("epochs", "factor"), [(9, 3), (16, 2), (27, 3), (16, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_hyperband_stops_whom_tunes_stops(stage: Any, epochs: int, factor: int, seed: int) -> None:
    """Tune's brackets are the paper's for whole powers, where all trials are there from the beginning."""
    levels = {number: random.Random(f"{seed}/{number}").random() for number in range(1, 31)}

    def train(number: int, values: Any, epoch: int, weights: float) -> tuple[float, dict[str, float]]:
        return weights, {"SSIM": levels[number] + random.Random(f"{seed}/{number}/{epoch}").gauss(0, 0.2)}

    ours = stage(HyperBand(scoreboard(), epochs, 1, factor)).add(*levels).run(train, slots=3, seed=seed)
    theirs = stage(HyperBandScheduler(**TUNES, max_t=epochs, reduction_factor=factor))
    assert ours == theirs.add(*levels).run(train, slots=3, seed=seed)
    assert len(set(ours.values())) > 2
