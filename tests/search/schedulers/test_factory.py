from __future__ import annotations

import re
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from refusion.config.layers import check
from refusion.errors import UserError
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import ScoredScheduler
from refusion.search.schedulers.early_stopping import Asha, Median
from refusion.search.schedulers.factory import EPOCH, SCORE, make_scheduler, rungs
from refusion.search.schedulers.hyperband import HyperBand
from refusion.search.schedulers.imported import ImportedScheduler
from refusion.search.schedulers.pb2 import Pb2
from refusion.search.schedulers.pbt import Pbt
from refusion.search.space.space import Space

BASE = check([{"schedule": {"rate": {"kind": "constant", "value": 1e-3}}}])
RANGE = {"low": 1e-4, "high": 1e-2, "log": True}
SPACE = Space.read({"schedule.rate.value": RANGE})


def make(kind: Any, **options: Any) -> Any:
    scoreboard = Scoreboard(Objective.parse("SSIM", ["IVIF"]))
    return make_scheduler(kind, scoreboard, **{"epochs": 9, "space": SPACE, "base": BASE, **options})


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("asha", Asha),
        ("hyperband", HyperBand),
        ("median", Median),
        ("pbt", Pbt),
        ("pb2", Pb2),
        ("none", ScoredScheduler),
        ("ray.tune.schedulers:FIFOScheduler", ImportedScheduler),
    ],
)
def test_each_kind_is_a_scheduler_for_tune_with_a_scoreboard(kind: Any, own: type) -> None:
    scheduler = make(kind)
    assert type(scheduler) is own
    assert isinstance(scheduler, TrialScheduler) and isinstance(scheduler, ScoredScheduler)
    assert not scheduler.supports_buffered_results
    # Tune hands on what its own configuration says of metric and mode: nothing.
    assert scheduler.set_search_properties(None, None)
    assert (EPOCH, SCORE) == ("epoch", "score")


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("asha", {"grace": 1}, [1, 3]),
        ("asha", {"grace": 2, "factor": 2}, [2, 4, 8]),
        ("asha", {"grace": 9}, []),
        ("hyperband", {"grace": 2}, [3]),
        ("median", {"grace": 6}, [6, 7, 8]),
        ("pbt", {}, []),
        ("pb2", {}, []),
        ("none", {}, []),
        ("my_module:MyScheduler", {}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_rungs(kind: Any, options: dict[str, int], expected: list[int]) -> None:
    assert rungs(kind, 9, **options) == expected


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("asha", {"grace": 10}, "--grace 10: choose 1 to 9"),
        ("median", {"grace": 10}, "--grace 10: choose 1 to 9"),
        ("hyperband", {"grace": 0}, "--grace 0: choose 1 to 9"),
        ("asha", {"factor": 1}, "--reduction 1: "),
        ("hyperband", {"factor": 0}, "--reduction 0: "),
        ("pbt", {"interval": 9}, "--interval 9: "),
        ("pb2", {"interval": 0}, "--interval 0: "),
        ("pbt", {"interval": 1, "epochs": 1}, "choose more --schedule.epochs"),
        ("pbt", {"space": Space.read({"images.crop": {"low": 32, "high": 64}})}, "images.crop: "),
        ("pb2", {"space": Space.read({"schedule.rate.value": RANGE, "outer.ratio": [0.5, 1]})}, "outer.ratio: PB2"),
        ("pbt", {"base": check([])}, "schedule.rate: must be constant"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make(kind, **options)


@pytest.mark.parametrize("kind", ["none", "pbt"])
def test_options_of_other_schedulers_do_not_matter(kind: Any) -> None:
    make(kind, grace=100, factor=0, interval=3)
    make("asha", interval=100)


def test_a_population_needs_its_space() -> None:
    with pytest.raises(ValueError, match="needs the space"):
        make("pbt", space=None)


def nobody_asks(trial: int, epoch: int, goes_on: bool) -> None:
    raise AssertionError


@pytest.mark.parametrize("kind", ["asha", "median", "none"])
def test_decisions_go_to_whom_they_are_for(kind: Any) -> None:
    assert make(kind, on_decision=nobody_asks).on_decision is nobody_asks
    assert make(kind).on_decision is None


@pytest.mark.parametrize("kind", ["hyperband", "pbt", "pb2"])
def test_trials_that_pause_cannot_end_by_themselves(kind: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind} pauses trials"):
        make(kind, on_decision=nobody_asks)
