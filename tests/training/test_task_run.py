"""A task's run past checkpoints that turn out to be damaged, with a trainer of the test's own in Ray Train's place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train

from refusion.config.settings import Settings
from refusion.errors import DamagedCheckpointError
from refusion.meta.state import TrainingState
from refusion.runtime.ray_internals import CHECKPOINTS_FILE, record_of_checkpoints, recorded_checkpoints
from refusion.runtime.storage import Folder
from refusion.training import task_run
from refusion.training.checkpoints import save_checkpoint


class NotesTaken:
    """Takes notes as the handle of `ProgressBoard` does."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.note = SimpleNamespace(remote=lambda _, text: self.notes.append(text))


class Run:
    """A task's folder with checkpoints, and trainers that end as the test says, one after the other."""

    def __init__(self, tiny: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.folder, self.progress_board = tiny, folder / "IVIF", NotesTaken()
        names = ["epoch_00001", "epoch_00002"]
        for epoch, name in enumerate(names, start=1):
            (self.folder / name).mkdir(parents=True)
            state = TrainingState(tiny, "IVIF")
            state.epoch = epoch
            save_checkpoint(self.folder / name, state, tiny, "IVIF", {})
        (self.folder / CHECKPOINTS_FILE).write_text(record_of_checkpoints("", names))
        self.ends: Iterator[Exception | None] = iter(())
        self.recordings: list[str] = []
        monkeypatch.setattr(task_run, "_trainer", self._trainer)

    def _trainer(self, *given: Any) -> Any:
        self.recordings.append(given[-1].name)
        return SimpleNamespace(fit=self._fit)

    def _fit(self) -> None:
        if (end := next(self.ends)) is not None:
            raise end

    def damage(self, name: str) -> None:
        (self.folder / name / "fusion.safetensors").write_bytes(b"")

    def train(self, *ends: Exception | None) -> str:
        self.ends = iter(ends)
        recording = SimpleNamespace(name="begun", resumed=lambda _: SimpleNamespace(name="resumed"))
        assignment: Any = SimpleNamespace(task="IVIF", progress_board=self.progress_board)
        return task_run._train(assignment, self.settings, Folder(str(self.folder.parent)), recording)  # type: ignore[arg-type]


@pytest.fixture
def run(tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tiny, tmp_path, monkeypatch)


def damaged() -> Exception:
    return ray.train.ControllerError(DamagedCheckpointError("epoch_00002/fusion.safetensors: is damaged"))


def test_the_damaged_one_is_set_aside_and_the_task_goes_on_in_the_same_record(run: Run) -> None:
    run.damage("epoch_00002")
    assert run.train(damaged(), None) == ""
    assert run.recordings == ["begun", "resumed"]
    assert recorded_checkpoints((run.folder / CHECKPOINTS_FILE).read_text()) == ["epoch_00001"]
    (note,) = run.progress_board.notes
    assert "epoch_00002/fusion.safetensors: is damaged" in note and note.endswith("goes on from epoch_00001")


def test_a_task_without_a_whole_one_ends_and_names_each(run: Run) -> None:
    for name in ("epoch_00001", "epoch_00002"):
        run.damage(name)
    assert "none of its checkpoints is whole" in run.train(damaged())


def test_one_that_cannot_be_read_for_another_reason_ends_the_task(run: Run) -> None:
    assert run.train(damaged()) == "epoch_00002/fusion.safetensors: is damaged"
    assert run.progress_board.notes == []


def test_other_failures_end_it_as_before(run: Run) -> None:
    run.damage("epoch_00002")
    assert run.train(ray.train.ControllerError(ValueError("the loss"))) == "ValueError: the loss"


@pytest.mark.parametrize(("epochs", "trained"), [(2, True), (3, False)])
def test_a_task_that_is_trained_to_its_end_starts_no_workers(
    run: Run, monkeypatch: pytest.MonkeyPatch, epochs: int, trained: bool
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(task_run, "tell", lambda *_, **changes: told.append(changes["state"]))
    schedule = run.settings.schedule.model_copy(update={"epochs": epochs})
    settings = run.settings.model_copy(update={"schedule": schedule})
    pairs: Any = SimpleNamespace(task="IVIF", folder="", train=(), val=())
    recording: Any = SimpleNamespace(name="begun")
    run.ends = iter([None])
    outcome = task_run.run_task(settings, pairs, 1, recording, Folder(str(run.folder.parent)), run.progress_board)
    assert run.recordings == ([] if trained else ["begun"])
    assert outcome.succeeded and told[-1] == "done"
    assert (run.folder / "final" / "fusion.safetensors").is_file()


def test_a_damaged_last_epoch_is_trained_again(run: Run) -> None:
    folder = Folder(str(run.folder))
    assert task_run.is_trained(folder, 2)
    run.damage("epoch_00002")
    assert not task_run.is_trained(folder, 2)
