"""Checkpoints of trials that are damaged: the newest sound one is taken, and the bad one named."""

from __future__ import annotations

from pathlib import Path

import pytest

from refusion.config.layers import check
from refusion.meta.state import TrainingState
from refusion.runtime.storage import Folder
from refusion.search.trials.records import TrialRecord, to_go_on
from refusion.search.trials.sound import fault_of_trial, forget_damaged, sound_before
from refusion.training.checkpoints import save_checkpoint

SETTINGS = check([{"network": {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1}}])
TASKS = ("IVIF", "MIF")


def checkpoint(folder: Path) -> str:
    for task in TASKS:
        (folder / task).mkdir(parents=True)
        save_checkpoint(folder / task, TrainingState(SETTINGS, task), SETTINGS, task, {})
    return str(folder)


def spoil(folder: str, task: str = "MIF") -> None:
    file = Path(folder) / task / "fusion.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def trial(place: Path, number: int, epochs: int, copied: tuple[int, int] | None = None) -> TrialRecord:
    """A trial with a checkpoint of each of its epochs; ``copied``: after which epoch it copied which trial."""
    lineage = [{"epoch": 0, "from": None, "values": {}}]
    if copied:
        lineage.append({"epoch": copied[0], "from": copied[1], "values": {}})
    at = {epoch: checkpoint(place / f"trial_{number}" / f"checkpoint_{epoch:06d}") for epoch in range(1, epochs + 1)}
    return TrialRecord(number, {}, "", {epoch: {} for epoch in at}, lineage, at)


def test_what_is_wrong_with_any_of_its_tasks_is_named(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "one")
    assert fault_of_trial(Folder(folder), TASKS) is None
    spoil(folder)
    assert str(fault_of_trial(Folder(folder), TASKS)).startswith(f"{folder}/MIF/fusion.safetensors: is damaged")


@pytest.mark.parametrize(
    ("damaged", "epoch", "ending"), [([2], 1, "goes on from its epoch 1"), ([1, 2], 0, "begins anew")]
)
def test_a_trial_goes_on_from_its_newest_sound_checkpoint(
    tmp_path: Path, damaged: list[int], epoch: int, ending: str
) -> None:
    records = {3: trial(tmp_path, 3, 2)}
    for at in damaged:
        spoil(records[3].checkpoints[at])
    told = forget_damaged(records, None, TASKS)
    assert len(told) == len(damaged)
    assert all(line.startswith(f"trial 3: {tmp_path}/trial_3/checkpoint_00000") for line in told)
    assert all(line.endswith(f"; {ending}") for line in told)
    assert to_go_on(records, None)[3].epoch == epoch


def test_those_of_trials_that_have_ended_are_not_read(tmp_path: Path) -> None:
    records = {1: trial(tmp_path, 1, 1)}
    records[1].ended = "finished"
    spoil(records[1].checkpoints[1])
    assert forget_damaged(records, None, TASKS) == []
    assert list(records[1].checkpoints) == [1]


def test_a_population_goes_back_to_an_exchange_that_all_can_go_on_from(tmp_path: Path) -> None:
    """Trial 2 goes on from a checkpoint of trial 1, which it has just copied."""
    records = {1: trial(tmp_path, 1, 4), 2: trial(tmp_path, 2, 4, copied=(4, 1))}
    spoil(records[1].checkpoints[4])
    (line,) = forget_damaged(records, 2, TASKS)
    assert line.startswith("trial 1: ") and line.endswith("goes on from its epoch 2")
    assert {number: record.epoch for number, record in to_go_on(records, 2).items()} == {1: 2, 2: 2}


def test_the_newest_sound_one_before_a_checkpoint_is_found(tmp_path: Path) -> None:
    at = {epoch: checkpoint(tmp_path / f"checkpoint_{epoch:06d}") for epoch in (1, 2, 3)}
    newest = Folder(at[3])
    assert sound_before(newest, TASKS) == Folder(at[2])
    spoil(at[2], "IVIF")
    assert sound_before(newest, TASKS) == Folder(at[1])
    assert sound_before(Folder(at[1]), TASKS) is None
