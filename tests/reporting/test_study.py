from __future__ import annotations

import dataclasses
import math

import pytest

from refusion.errors import UserError
from refusion.reporting.study import ending_of, endings, get_setting, read_study
from refusion.tracking.sweeps import RecordedSweep, RecordedTrial, read_sweep

SPEC = {"name": "s", "tasks": ["IVIF"], "objective": "SSIM", "space": {"objective.alpha": {"low": 0.5, "high": 2.0}}}


def trial(number: int, ended: str, *scores: float) -> RecordedTrial:
    history = {epoch: {"SSIM": score, "EN": 7.0, "rate": 1e-3} for epoch, score in enumerate(scores, 1)}
    values = {"objective.alpha": 0.5 + number / 10} if number else {}
    return RecordedTrial(number, f"run{number}", values, ended, [{"epoch": 0}], history, 1.0)


def sweep(*trials: RecordedTrial, **tags: str) -> RecordedSweep:
    return RecordedSweep("s", "run", SPEC, tags, list(trials), None, None)


def test_those_that_came_to_the_end_go_first_then_by_score() -> None:
    study = read_study(
        sweep(
            trial(0, "finished", 0.1, 0.2, 0.3),
            trial(1, "stopped", 0.05),
            trial(2, "failed: no memory"),
            trial(3, "finished", 0.2, 0.3, 0.4),
            trial(4, "stopped", 0.15),
        )
    )
    assert study.order == [3, 0, 4, 1, 2]
    assert (study.best, study.last_epoch, study.compared) == (3, 3, [1, 3, 4])
    assert study.ranks == {0: 2.0, 3: 1.0}
    assert study.scores[3] == 1.0
    assert study.scores[1] == 0.0
    assert endings(study) == {"finished": 2, "stopped": 2, "failed": 1}
    assert study.metrics == ["EN", "SSIM"]
    assert not study.evolves


def test_the_sweeps_own_choice_is_the_best() -> None:
    both = trial(1, "finished", 0.3), trial(2, "finished", 0.2)
    assert read_study(sweep(*both)).best == 1
    assert read_study(sweep(*both, best_trial="2")).best == 2


def test_nothing_validated_yet() -> None:
    for trials in ((), (trial(0, "running"),)):
        study = read_study(sweep(*trials))
        assert (study.best, study.last_epoch, study.scores, study.metrics) == (None, 0, {}, [])


def test_epochs_without_validation_do_not_count() -> None:
    late = trial(1, "finished", 0.3, 0.4)
    late.history[3] = {"rate": 1e-3}
    assert read_study(sweep(late)).last_epoch == 2


def test_a_trial_whose_numbers_are_lost_is_the_last() -> None:
    study = read_study(
        sweep(trial(1, "diverged: lost", math.nan), trial(2, "finished", 0.1), trial(3, "finished", 0.2))
    )
    assert study.order == [3, 2, 1]
    assert ending_of(study.trials[1]) == "diverged"


def test_a_spec_of_another_version_is_named() -> None:
    with pytest.raises(UserError, match=r"nothing of its objective"):
        read_study(dataclasses.replace(sweep(), spec={"tasks": ["IVIF"]}))


def test_recorded_sweeps_are_judged(store: str) -> None:
    study = read_study(read_sweep(store, "study", "asha"))
    assert len(study.trials) == 13
    assert {"finished", "stopped", "failed", "diverged"} == set(endings(study))
    assert study.best == study.order[0]
    assert read_study(read_sweep(store, "study", "pbt")).evolves


def test_settings_by_dotted_name() -> None:
    settings = {"schedule": {"inner_steps": 1, "rate": {"value": 0.5}}}
    assert get_setting(settings, "schedule.rate.value") == 0.5
    assert get_setting(settings, "schedule.inner_steps.0") is None
    assert get_setting(settings, "nothing") is None
