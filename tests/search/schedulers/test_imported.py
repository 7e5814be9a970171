"""A scheduler of the user's own: one file with a class on Tune's public interface."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from refusion.errors import UserError
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.factory import make_scheduler

FILE = '''
from ray.tune.schedulers import FIFOScheduler, TrialScheduler


class Threshold(FIFOScheduler):
    """Stops a trial whose score is below a half after two epochs."""

    def set_search_properties(self, metric, mode, **spec):
        self.told = (metric, mode, spec)
        self.ended = []
        return super().set_search_properties(metric, mode, **spec)

    def on_trial_result(self, tune_controller, trial, result):
        poor = result["epoch"] >= 2 and result[self.metric] < 0.5
        return TrialScheduler.STOP if poor else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller, trial, result):
        self.ended.append(trial.config["number"])


class Turns(FIFOScheduler):
    """Pauses every trial after each epoch."""

    def on_trial_result(self, tune_controller, trial, result):
        return TrialScheduler.PAUSE


class Demanding(FIFOScheduler):
    def __init__(self, rungs):
        super().__init__()


class NoScheduler:
    pass
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_schedulers.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_schedulers", raising=False)
    return "my_schedulers"


def staged(stage: Any, path: str, epochs: int = 4) -> Any:
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    return stage(make_scheduler(path, scoreboard, epochs=epochs, seed=7))


def by_number(number: int, values: Mapping[str, Any], epoch: int, weights: float) -> tuple[float, dict[str, float]]:
    return weights + 1, {"SSIM": number / 10}


def test_it_decides_by_our_scores_on_all_but_the_default_trial(stage: Any, module: str) -> None:
    ring = staged(stage, f"{module}:Threshold").add(*range(8))
    assert ring.run(by_number, slots=2) == {0: 4, 1: 2, 2: 2, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4}
    own = ring.scheduler.scheduler
    assert own.told == ("score", "max", {"time_attr": "epoch", "epochs": 4, "seed": 7})
    assert sorted(own.ended) == [1, 2, 3, 4, 5, 6, 7]


def test_it_may_pause_trials_and_the_default_one_comes_first(stage: Any, module: str) -> None:
    ring = staged(stage, f"{module}:Turns").add(1, 2, 0)
    assert ring.turn() == 0
    for number in (0, 1):
        ring.start(number)
    assert ring.report(1, 1, SSIM=0.5) == "PAUSE" and ring.report(0, 1, SSIM=0.5) == "CONTINUE"
    assert ring.turn() == 2
    assert set(ring.run(by_number).values()) == {4}


def test_a_failing_trial_is_no_trouble(stage: Any, module: str) -> None:
    ring = staged(stage, f"{module}:Threshold").add(*range(8))
    assert ring.run(by_number, fails={0: 2, 6: 3})[7] == 4


def test_where_trials_end_by_themselves_it_is_asked_too(stage: Any, module: str) -> None:
    decisions: list[tuple[int, int, bool]] = []
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    path = f"{module}:Threshold"
    ring = stage(make_scheduler(path, scoreboard, epochs=3, on_decision=lambda *decision: decisions.append(decision)))
    ring.add(1)
    assert [ring.report(1, epoch, SSIM=0.1) for epoch in (1, 2)] == ["CONTINUE", "CONTINUE"]
    assert decisions == [(1, 1, True), (1, 2, False)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Missing", "has no 'Missing'"),
        ("NoScheduler", "is no subclass of ray.tune.schedulers.TrialScheduler; derive it from one"),
        ("Demanding", "cannot be made (TypeError: "),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(module: str, name: str, message: str) -> None:
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    with pytest.raises(UserError, match=rf"^--scheduler {module}:{name}: .*{re.escape(message)}"):
        make_scheduler(f"{module}:{name}", scoreboard, epochs=3)
