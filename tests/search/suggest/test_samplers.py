from __future__ import annotations

import logging
import math
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest

from refusion.config.settings import Settings
from refusion.search.space.space import Space
from refusion.search.space.validation import draw_valid, why_invalid
from refusion.search.suggest import samplers as suggest
from refusion.search.suggest.samplers import STARTUP, KnownTrial, suggest_optuna, suggest_random

Sampler = Literal["tpe", "gp"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "gp")
SPACE = Space.read(
    {
        "schedule.rate.kind": ["constant", "step"],
        "schedule.rate.value": {"low": 1e-5, "high": 1e-1, "log": True},
        "schedule.rate.every": {"low": 1, "high": 5, "when": {"schedule.rate.kind": "step"}},
        "schedule.inner_steps": {"low": 1, "high": 5},
        "schedule.inner_rate": {"choices": [{"kind": "tied", "ratio": 1.0}, {"kind": "constant", "value": 1e-3}]},
    }
)
BASE = Settings()


def quality(values: dict[str, Any]) -> float:
    """Best, 0, at a constant rate of 1e-3 with K = 3."""
    rate = -abs(math.log10(values["schedule.rate.value"]) + 3)
    kind = 0.0 if values["schedule.rate.kind"] == "constant" else -0.5
    return rate + kind - 0.2 * abs(values["schedule.inner_steps"] - 3)


def finished(count: int, seed: int = 0) -> list[KnownTrial]:
    drawn = (suggest_random(SPACE, BASE, seed, number) for number in range(1, count + 1))
    return [KnownTrial(values, quality(values), "finished") for values in drawn]


def test_random_values_are_valid_differ_and_repeat() -> None:
    drawn = [suggest_random(SPACE, BASE, 3, number) for number in range(1, 9)]
    assert all(SPACE.contains(values) and why_invalid(SPACE, BASE, values) is None for values in drawn)
    assert len({str(values) for values in drawn}) == 8
    assert drawn == [suggest_random(SPACE, BASE, 3, number) for number in range(1, 9)]
    assert drawn != [suggest_random(SPACE, BASE, 4, number) for number in range(1, 9)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_suggestions_are_the_random_ones(sampler: Sampler) -> None:
    known = [KnownTrial({}, 0.5, "finished")]  # the default settings lie outside the space
    for number in range(1, STARTUP + 1):
        values = suggest_optuna(SPACE, BASE, sampler, 5, number, known)
        assert values == suggest_random(SPACE, BASE, 5, number)
        known.append(KnownTrial(values, quality(values), "finished"))
    assert suggest_optuna(SPACE, BASE, sampler, 5, 11, known) != suggest_random(SPACE, BASE, 5, 11)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_knowledge_gives_the_same_values(sampler: Sampler) -> None:
    known = [*finished(12), KnownTrial(suggest_random(SPACE, BASE, 0, 13), None, "running")]
    values = suggest_optuna(SPACE, BASE, sampler, 0, 14, known)
    random.seed(1)
    assert values == suggest_optuna(SPACE, BASE, sampler, 0, 14, list(known))
    assert SPACE.contains(values)
    assert values != suggest_optuna(SPACE, BASE, sampler, 1, 14, known)
    assert values != suggest_optuna(SPACE, BASE, sampler, 0, 15, known)


def test_another_process_with_other_string_hashes_suggests_the_same() -> None:
    """Optuna keeps sets of parameter names; a resumed sweep is another process."""
    here = [suggest_optuna(SPACE, BASE, "tpe", 0, number, finished(12)) for number in (13, 14)]
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_samplers import *; "
        "print([suggest_optuna(SPACE, BASE, 'tpe', 0, number, finished(12)) for number in (13, 14)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(here)


def searched(sampler: Sampler | None, seed: int, trials: int) -> float:
    """The mean quality of the last five trials."""
    known: list[KnownTrial] = []
    for number in range(1, trials + 1):
        values = (
            suggest_random(SPACE, BASE, seed, number)
            if sampler is None
            else suggest_optuna(SPACE, BASE, sampler, seed, number, known)
        )
        known.append(KnownTrial(values, quality(values), "finished"))
    return sum(trial.score or 0 for trial in known[-5:]) / 5


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 30), ("gp", 18)])
def test_what_is_known_makes_later_trials_better_than_random_ones(sampler: Sampler, trials: int) -> None:
    gains = [searched(sampler, seed, trials) - searched(None, seed, trials) for seed in range(4)]
    assert sum(gains) / len(gains) > 0.2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_was_tried_or_still_runs_is_not_asked_again(sampler: Sampler) -> None:
    """Four workers at once that choose one integer get four new ones although one value looks best."""
    space = Space.read({"schedule.inner_steps": {"low": 1, "high": 20}})
    known = [
        KnownTrial({"schedule.inner_steps": k}, -abs(k - 9.0), "finished") for k in (1, 3, 5, 7, 12, 14, 16, 18, 19, 20)
    ]
    for number in range(11, 15):
        known.append(KnownTrial(suggest_optuna(space, BASE, sampler, 0, number, known), None, "running"))
    assert len({trial.values["schedule.inner_steps"] for trial in known}) == 14


def test_failed_trials_teach_nothing_and_lost_scores_count_as_the_worst() -> None:
    known = finished(12)
    bad = suggest_random(SPACE, BASE, 0, 99)
    plain = suggest_optuna(SPACE, BASE, "tpe", 0, 20, known)
    assert suggest_optuna(SPACE, BASE, "tpe", 0, 20, [*known, KnownTrial(bad, None, "failed")]) == plain
    worst = min(trial.score for trial in known if trial.score is not None)
    told = suggest_optuna(SPACE, BASE, "tpe", 0, 20, [*known, KnownTrial(bad, worst, "finished")])
    for lost in (math.nan, -math.inf, None):
        assert suggest_optuna(SPACE, BASE, "tpe", 0, 20, [*known, KnownTrial(bad, lost, "finished")]) == told


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_invalid_combinations_are_asked_again(sampler: Sampler) -> None:
    """Every width above 16 looks better, but fits no 16 heads."""
    space = Space.read(
        {"network.width": [16, 24, 40], "network.heads": [8, 16], "outer.ratio": {"low": 0.1, "high": 2}}
    )
    known = []
    for number in range(1, 13):
        values = draw_valid(space, BASE, random.Random(number))
        known.append(KnownTrial(values, values["network.width"] + values["network.heads"] * 2.0, "finished"))
    for number in range(13, 19):
        values = suggest_optuna(space, BASE, sampler, 0, number, known)
        assert why_invalid(space, BASE, values) is None


def test_where_nothing_asked_will_do_a_random_draw_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "why_invalid", lambda *_: "no")
    assert suggest_optuna(SPACE, BASE, "tpe", 0, 13, finished(12)) == suggest_random(SPACE, BASE, 0, 13)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_used_up_gives_something_all_the_same(sampler: Sampler) -> None:
    space = Space.read({"schedule.inner_steps": [1, 2]})
    known = [KnownTrial({"schedule.inner_steps": k}, float(k), "finished") for k in (1, 2)]
    values = suggest_optuna(space, BASE, sampler, 0, 3, known, startup=2)
    assert values in ({"schedule.inner_steps": 1}, {"schedule.inner_steps": 2})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_optuna_says_nothing(sampler: Sampler, capfd: pytest.CaptureFixture[str]) -> None:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            suggest_optuna(SPACE, BASE, sampler, 0, 13, finished(12))
        assert optuna.logging.get_verbosity() == logging.INFO
    finally:
        optuna.logging.set_verbosity(level)
    assert capfd.readouterr().err == ""
