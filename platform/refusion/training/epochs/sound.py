"""Checkpoints that are as they were written, and a run's folder after one of them is not any more."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from refusion.checksums import check_checksums
from refusion.errors import UserError
from refusion.runtime import ray_internals
from refusion.runtime.ending import local_path
from refusion.runtime.ray_internals import CHECKPOINTS_FILE
from refusion.runtime.storage import Folder
from refusion.training.checkpoints import EPOCH, METRICS_FILE, check_readable

# Under this and its own name a damaged checkpoint is set aside, so that its epoch can be trained again.
DAMAGED = "damaged_"


def fault_of(checkpoint: Folder) -> str | None:
    """Returns what is wrong with a checkpoint in one sentence, which names the file; None where nothing is."""
    if METRICS_FILE not in checkpoint.names():
        return f"{checkpoint.uri}: is not whole: there is no {METRICS_FILE}"
    try:
        with on_this_machine(checkpoint) as folder:
            check_checksums(folder, whole=True)
            check_readable(folder)
    except (UserError, OSError) as error:
        return str(error)
    return None


def without_advice(fault: str) -> str:
    """Returns the sentence on a checkpoint without its advice, where another one is taken anyway."""
    return fault.removesuffix("; take another checkpoint")


@contextmanager
def on_this_machine(folder: Folder) -> Iterator[Path]:
    """Gives a folder's path, or that of a copy for as long as the block lasts."""
    found = local_path(folder.uri)
    if found is not None:
        yield found
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        Folder(str(copy)).replace_by(folder)
        yield copy


def listed_checkpoints(task_folder: Folder) -> list[str]:
    """Names of a task's checkpoints that Ray Train has on record, the newest last; all epochs' where it has lost it."""
    names = task_folder.names()
    if CHECKPOINTS_FILE not in names:
        return []
    listed = ray_internals.recorded_checkpoints((task_folder / CHECKPOINTS_FILE).read_text())
    return [name for name in names if name.startswith(EPOCH)] if listed is None else listed


def newest_sound(
    task_folder: Folder, find_fault: Callable[[Folder], str | None] = fault_of
) -> tuple[Folder | None, dict[str, str]]:
    """Returns the newest checkpoint that nothing is wrong with, and what is wrong with those after it, by name."""
    faults: dict[str, str] = {}
    for name in reversed(listed_checkpoints(task_folder)):
        fault = find_fault(task_folder / name)
        if fault is None:
            return task_folder / name, faults
        faults[name] = fault
    return None, faults


def set_damaged_aside(task_folder: Folder, find_fault: Callable[[Folder], str | None] = fault_of) -> list[str]:
    """Rename the newest checkpoints of a task as far as they are damaged, so that it goes on from the one before.

    Args:
        task_folder: of Ray Train, with its record.
        find_fault: returns what is wrong with a checkpoint, or None.

    Returns:
        A sentence on each, for the user.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    newest, faults = newest_sound(task_folder, find_fault)
    listed = listed_checkpoints(task_folder)
    if faults and newest is None:
        raise UserError(
            f"{task_folder.uri}: none of its checkpoints is whole ({'; '.join(faults.values())}); put one back, or "
            "start a new run"
        )
    file = task_folder / CHECKPOINTS_FILE
    lost = bool(listed) and ray_internals.recorded_checkpoints(file.read_text()) is None
    if not faults and not lost:
        return []
    left = [name for name in listed if name not in faults]
    # The record first: Ray Train refuses one that names what is not there.
    file.write_text(ray_internals.record_of_checkpoints(file.read_text(), left))
    assert newest is not None
    told = [f"{file.uri} could not be read and was made anew"] if lost else []
    for name, fault in faults.items():
        aside = task_folder / f"{DAMAGED}{name}"
        aside.replace_by(task_folder / name)
        (task_folder / name).remove()
        told.append(f"{without_advice(fault)}; goes on from {Path(newest.uri).name}")
    return told
