from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.config.layers import check, read_settings_file
from refusion.config.settings import Settings
from refusion.search.objective.objective import Objective
from refusion.search.results.conclude import best_text, chain, choose_best, settings_of
from refusion.search.state import SweepState
from refusion.search.trials.records import TrialRecord

Begin = Callable[..., SweepState]
RATE, STEPS, ALPHA = "schedule.rate.value", "schedule.inner_steps", "objective.alpha"
# Where and how a trial ran is no part of what was found.
ELSEWHERE = ("data", "workers", "threads", "gpu", "retries", "skip_bad_pairs", "checkpoints")


def values(rate: float, steps: int = 1, alpha: float = 1.0) -> dict[str, Any]:
    return {RATE: rate, STEPS: steps, ALPHA: alpha}


def change(epoch: int, donor: int | None, rate: float) -> dict[str, Any]:
    return {"epoch": epoch, "from": donor, "values": values(rate)}


def history(*scores: float) -> dict[int, dict[str, float]]:
    return {epoch: {"Qabf": score} for epoch, score in enumerate(scores, start=1)}


def member(number: int, *changes: dict[str, Any], epochs: int = 4) -> TrialRecord:
    return TrialRecord(number, changes[-1]["values"], "finished", history(*[0.5] * epochs), list(changes))


def by_number(*records: TrialRecord) -> dict[int, TrialRecord]:
    return {record.number: record for record in records}


def shared(settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in settings.model_dump().items() if name not in ELSEWHERE}


def read_back(text: str, folder: Path) -> Settings:
    """Reads settings as jobs/train_all_tasks.py --config does."""
    file = folder / "best.yaml"
    file.write_text(text, encoding="utf-8")
    return check([read_settings_file(file)])


# --- which trial is the best -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("histories", "best"),
    [
        ([history(0.5, 0.6), history(0.4, 0.7)], 1),
        # Ahead after one epoch, but stopped.
        ([history(0.5, 0.6), history(0.9), history(0.1, 0.2)], 0),
        ([history(0.5), history(0.5)], 0),
        ([{}, history(0.1)], 1),
        # The last epoch was not measured.
        ([{1: {"Qabf": 0.5}, 2: {"loss": 1.0}}, {1: {"Qabf": 0.6}}], 1),
        ([history(0.5, math.nan), history(0.2, 0.3)], 1),
        ([{}, {}], None),
        ([{1: {"loss": 0.5}}], None),
        ([], None),
    ],
)
def test_the_best_is_the_best_of_those_that_were_measured_furthest(
    histories: list[dict[int, dict[str, float]]], best: int | None
) -> None:
    records = {number: TrialRecord(number, {}, history=found) for number, found in enumerate(histories)}
    assert choose_best(Objective.parse("Qabf", ["IVIF"]), records) == best


# --- what a trial went through ---------------------------------------------------------------------------------------


def test_a_member_that_copied_nobody_went_through_its_own_changes() -> None:
    record = member(1, change(0, None, 1e-3))
    assert chain(by_number(record), 1) == record.lineage


def test_who_copied_went_through_what_the_donor_did_before() -> None:
    records = by_number(
        member(1, change(0, None, 1e-3), change(2, 2, 3e-3)),
        member(2, change(0, None, 2e-3), change(4, 1, 9e-3)),
    )
    assert chain(records, 1) == [change(0, None, 2e-3), change(2, 2, 3e-3)]


def test_copies_of_copies_are_followed_to_the_beginning() -> None:
    records = by_number(
        member(1, change(0, None, 1e-3), change(2, 2, 1.2e-3), change(6, 3, 1.6e-3)),
        member(2, change(0, None, 2e-3)),
        member(3, change(0, None, 3e-3), change(2, 2, 3.2e-3), change(4, 1, 3.4e-3), change(8, 2, 3.8e-3)),
    )
    # 1 at 6 is 3, which at 4 was 1, which at 2 was 2.
    assert chain(records, 1) == [
        change(0, None, 2e-3),
        change(2, 2, 1.2e-3),
        change(4, 1, 3.4e-3),
        change(6, 3, 1.6e-3),
    ]
    assert chain(records, 1, until=6) == [change(0, None, 2e-3), change(2, 2, 1.2e-3)]


def test_a_donor_is_copied_as_it_was_before_its_own_change_of_that_epoch() -> None:
    records = by_number(
        member(1, change(0, None, 1e-3), change(2, 2, 5e-3)), member(2, change(0, None, 2e-3), change(2, 1, 7e-3))
    )
    assert chain(records, 1) == [change(0, None, 2e-3), change(2, 2, 5e-3)]


# --- its settings ----------------------------------------------------------------------------------------------------


def test_the_settings_of_a_trial_are_its_values_over_the_base(sweep: Begin) -> None:
    state = sweep()
    state.records = by_number(TrialRecord(0, {}), TrialRecord(1, values(2e-3, 3, 0.5)))
    assert settings_of(state, 0) == state.manifest.base
    expected = {"schedule": {"rate": {"value": 2e-3}, "inner_steps": 3}, "objective": {"alpha": 0.5}}
    assert settings_of(state, 1) == check([expected], state.manifest.base)


def test_the_settings_of_a_member_hold_all_that_changed_on_its_way(sweep: Begin) -> None:
    state = sweep(scheduler="pbt", trials=2)
    state.records = by_number(
        member(0, {"epoch": 0, "from": None, "values": {}}),
        member(1, change(0, None, 1e-3), change(2, 2, 1 / 300)),
        member(2, change(0, None, 2e-3)),
    )
    assert settings_of(state, 0) == state.manifest.base
    settings = settings_of(state, 1)
    assert settings.schedule.rate.model_dump() == {"kind": "piecewise", "values": ((0, 2e-3), (2, 1 / 300))}
    assert settings_of(state, 2).schedule.rate.model_dump() == {"kind": "constant", "value": 2e-3, "warmup": 0.0}


def test_a_copy_that_was_not_trained_any_more_is_left_out(sweep: Begin) -> None:
    state = sweep(scheduler="pbt", trials=2)
    state.records = by_number(
        member(1, change(0, None, 1e-3), change(2, 2, 5e-3), epochs=2), member(2, change(0, None, 2e-3), epochs=2)
    )
    assert settings_of(state, 1).schedule.rate.model_dump()["value"] == 1e-3


@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_the_file_read_back_gives_the_trials_settings(sweep: Begin, tmp_path: Path, scheduler: str) -> None:
    state = sweep(scheduler=scheduler, trials=3, task=["IVIF", "MIF"], base={"seed": 7, "data": str(tmp_path)})
    state.records = by_number(
        member(0, {"epoch": 0, "from": None, "values": {}}),
        member(1, change(0, None, 1 / 3000), change(2, 2, 1 / 700)),
        member(2, change(0, None, 2e-3)),
    )
    for number in (0, 1, 2):
        text = best_text(state, number)
        assert shared(read_back(text, tmp_path)) == shared(settings_of(state, number))
        assert not set(ELSEWHERE) & set(yaml.safe_load(text))
        assert text.startswith(f"# Trial {number} of sweep first (objective Qabf).\n")


def test_the_file_repeats_the_trial_on_any_machine(sweep: Begin, tmp_path: Path) -> None:
    state = sweep(base={"threads": 2, "gpu": True, "retries": 0}, workers_per_trial=2)
    state.records = by_number(TrialRecord(1, values(1e-3)))
    settings = read_back(best_text(state, 1), tmp_path)
    assert (settings.threads, settings.gpu, settings.workers, settings.data) == (None, False, 1, "builtin")
