"""A task's folder with damaged checkpoints: the newest good one is taken, the bad ones are named and set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from refusion.checksums import CHECKSUMS_FILE, write_checksums
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.state import TrainingState
from refusion.runtime.ray_internals import CHECKPOINTS_FILE, record_of_checkpoints, recorded_checkpoints
from refusion.runtime.storage import Folder
from refusion.training.checkpoints import save_checkpoint
from refusion.training.epochs.sound import fault_of, newest_sound, set_damaged_aside

NAMES = ["epoch_00001", "epoch_00002", "epoch_00003"]


@pytest.fixture
def task_folder(tiny: Settings, tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES, start=1):
        state = TrainingState(tiny, "IVIF")
        state.epoch = number
        (tmp_path / name).mkdir()
        save_checkpoint(tmp_path / name, state, tiny, "IVIF", {"Qabf": 0.5})
    (tmp_path / CHECKPOINTS_FILE).write_text(record_of_checkpoints("", NAMES))
    return tmp_path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = [
    "fusion.safetensors",
    "loss_proposal.safetensors",
    "reconstruction.safetensors",
    "state.pt",
    "settings.yaml",
    "metrics.json",
    CHECKSUMS_FILE,
]


@pytest.mark.parametrize("damage", [cut, zero, flip, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(
    task_folder: Path, file: str, damage: Callable[[Path], None]
) -> None:
    if (file, damage) == (CHECKSUMS_FILE, Path.unlink):
        pytest.skip("an older checkpoint has none")
    damage(task_folder / NAMES[2] / file)
    (sentence,) = set_damaged_aside(Folder(str(task_folder)))
    assert NAMES[2] in sentence and file in sentence and sentence.endswith(f"goes on from {NAMES[1]}")
    assert recorded_checkpoints((task_folder / CHECKPOINTS_FILE).read_text()) == NAMES[:2]
    assert (task_folder / f"damaged_{NAMES[2]}").is_dir() and not (task_folder / NAMES[2]).exists()
    assert set_damaged_aside(Folder(str(task_folder))) == []


def test_several_damaged_ones_are_all_named_and_none_is_left_out_of_the_sentence(task_folder: Path) -> None:
    for name in NAMES[1:]:
        flip(task_folder / name / "fusion.safetensors")
    told = set_damaged_aside(Folder(str(task_folder)))
    assert [name for name in NAMES if any(name in sentence.split(";")[0] for sentence in told)] == NAMES[1:]
    newest, faults = newest_sound(Folder(str(task_folder)))
    assert newest == Folder(str(task_folder / NAMES[0])) and not faults


def test_a_run_without_any_good_checkpoint_is_refused_in_a_sentence(task_folder: Path) -> None:
    for name in NAMES:
        zero(task_folder / name / "state.pt")
    with pytest.raises(UserError, match="none of its checkpoints is whole") as refused:
        set_damaged_aside(Folder(str(task_folder)))
    assert all(name in str(refused.value) for name in NAMES)
    assert (task_folder / NAMES[2]).is_dir()


@pytest.mark.parametrize("content", ["", '{"ray_version": "2.6'])
def test_a_record_that_was_cut_off_is_made_anew(task_folder: Path, content: str) -> None:
    """As where a job is killed while Ray Train writes over it."""
    (task_folder / CHECKPOINTS_FILE).write_text(content)
    (sentence,) = set_damaged_aside(Folder(str(task_folder)))
    assert CHECKPOINTS_FILE in sentence
    assert recorded_checkpoints((task_folder / CHECKPOINTS_FILE).read_text()) == NAMES


def test_weights_that_are_not_finite_are_a_fault_though_they_are_as_written(task_folder: Path) -> None:
    file = task_folder / NAMES[2] / "fusion.safetensors"
    weights = load_file(str(file))
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, str(file))
    write_checksums(task_folder / NAMES[2])
    fault = fault_of(Folder(str(task_folder / NAMES[2])))
    assert fault is not None and f"{name} holds numbers that are not finite" in fault


def test_ray_train_reads_the_record(task_folder: Path) -> None:
    content = json.loads((task_folder / CHECKPOINTS_FILE).read_text())
    assert content["latest_checkpoint_result"]["checkpoint_dir_name"] == NAMES[2]
    assert len(content["checkpoint_report_indices"]) == len(NAMES)
