"""Checkpoints within an epoch: written when due, and gone on from to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.fuse import load_module
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.runtime.storage import Folder
from refusion.training.epochs.latest import LATEST, LatestCheckpoint
from refusion.training.loop import TaskTraining

LONGER = {"schedule": {"epochs": 2, "meta_iterations": 11, "fusion_steps": 11}, "outer": {"accumulate": 5}}


class StopError(Exception):
    """The process is gone."""


class Stopping(LatestCheckpoint):
    """Is due at every look; the process is gone after so many."""

    looks = 0

    def is_due(self) -> bool:
        return True

    def write(self, state: TrainingState, numbers: Mapping[str, float]) -> None:
        super().write(state, numbers)
        self.looks -= 1
        if self.looks == 0:
            raise StopError


def latest(folder: Path, settings: Settings, kind: type[LatestCheckpoint] = LatestCheckpoint) -> LatestCheckpoint:
    return kind(Folder(str(folder)), settings, "IVIF", Shard(), print, lambda *_: None)


@pytest.mark.usefixtures("quick")
def test_a_training_that_was_stopped_within_an_epoch_goes_on_bit_by_bit(training: TaskTraining, tmp_path: Path) -> None:
    settings = check([LONGER], training.settings)
    whole = TrainingState(settings, "IVIF")
    expected = list(replace(training, settings=settings).epochs(whole))

    # Looks come after the steps 1, 10 and 11 of each phase: at the end of meta-iterations, within fusion updates,
    # and within the meta-iterations of the second epoch.
    for looks in (3, 5, 8):
        writer = latest(tmp_path / str(looks), settings, Stopping)
        writer.looks = looks
        stopped = TrainingState(settings, "IVIF")
        reports = []
        with pytest.raises(StopError):
            for report in replace(training, settings=settings, latest=writer).epochs(stopped):
                reports.append(report)

        fresh = TrainingState(settings, "IVIF")
        fresh.epoch = len(reports)
        resumed = latest(tmp_path / str(looks), settings).newer_than(fresh)
        assert resumed is not None
        assert resumed.steps == stopped.steps > 0
        reports += replace(training, settings=settings).epochs(resumed)

        assert [report.epoch for report in reports] == [1, 2]
        for ours, theirs in zip(reports, expected, strict=True):
            for name, value in theirs.numbers.items():
                if name.startswith(("loss/", "signal/", "rate", "beta")):
                    assert ours.numbers[name] == pytest.approx(value, rel=1e-6), name
        for name, module in resumed.modules().items():
            for key, value in module.state_dict().items():
                assert torch.equal(value, whole.modules()[name].state_dict()[key]), f"{name}.{key}"
        torch.testing.assert_close(resumed.progress(), whole.progress(), rtol=0, atol=0)


@pytest.mark.usefixtures("quick")
def test_what_it_holds_fuses_and_counts_only_within_its_epoch(training: TaskTraining, tmp_path: Path) -> None:
    settings = check([LONGER], training.settings)
    writer = latest(tmp_path, settings, Stopping)
    writer.looks = 2
    with pytest.raises(StopError):
        next(replace(training, settings=settings, latest=writer).epochs(TrainingState(settings, "IVIF")))
    with torch.no_grad():
        assert load_module(tmp_path / LATEST)(torch.rand(1, 2, 16, 16)).shape == (1, 1, 16, 16)
    later = TrainingState(settings, "IVIF")
    later.epoch = 1
    reader = latest(tmp_path, settings)
    assert reader.newer_than(later) is None
    (tmp_path / LATEST / "state.pt").write_bytes(b"cut off")
    assert reader.newer_than(TrainingState(settings, "IVIF")) is None
    reader.epoch_ended(is_last=True)
    assert not (tmp_path / LATEST).exists()
    assert reader.newer_than(TrainingState(settings, "IVIF")) is None


@pytest.mark.parametrize(("minutes", "due"), [(0.0, False), (1e-9, True), (60.0, False)])
def test_it_is_due_as_often_as_told(tiny: Settings, tmp_path: Path, minutes: float, due: bool) -> None:
    assert latest(tmp_path, check([{"checkpoints": {"every_minutes": minutes}}], tiny)).is_due() is due


def test_a_storage_that_is_away_ends_no_training(tiny: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    notes: list[str] = []
    recorded: list[int] = []
    state = TrainingState(tiny, "IVIF")
    place = Folder(str(tmp_path / "file"))
    LatestCheckpoint(place, tiny, "IVIF", Shard(), notes.append, lambda *_: recorded.append(1)).write(state, {})
    assert len(notes) == len(recorded) == 1
    assert "no checkpoint within the epoch could be written" in notes[0]
