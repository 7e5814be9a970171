from __future__ import annotations

from pathlib import Path

import pytest
import ray.train

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import DamagedCheckpointError
from refusion.meta.state import TrainingState
from refusion.training.checkpoints import save_checkpoint
from refusion.training.epochs.start import group_note, load_newest


@pytest.fixture
def kept(tiny: Settings, tmp_path: Path) -> Path:
    state = TrainingState(tiny, "IVIF")
    state.epoch, state.best_score = 2, 0.5
    save_checkpoint(tmp_path, state, tiny, "IVIF", {})
    return tmp_path


def test_a_training_without_a_checkpoint_begins_anew(tiny: Settings) -> None:
    state = TrainingState(tiny, "IVIF")
    load_newest(None, state, tiny)
    assert state.epoch == 0


def test_it_goes_on_from_its_newest_checkpoint(tiny: Settings, kept: Path) -> None:
    state = TrainingState(tiny, "IVIF")
    load_newest(ray.train.Checkpoint(kept), state, tiny)
    assert (state.epoch, state.best_score) == (2, 0.5)
    other = check([{"validation": {"best_by": "SSIM"}}], tiny)
    load_newest(ray.train.Checkpoint(kept), state, other)
    assert (state.epoch, state.best_score) == (2, None)


@pytest.mark.parametrize("file", ["fusion.safetensors", "state.pt", "settings.yaml"])
def test_a_damaged_one_is_told_apart_from_other_faults(tiny: Settings, kept: Path, file: str) -> None:
    content = bytearray((kept / file).read_bytes())
    content[len(content) // 2] ^= 1
    (kept / file).write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=f"{file}: is damaged"):
        load_newest(ray.train.Checkpoint(kept), TrainingState(tiny, "IVIF"), tiny)


def test_the_number_of_workers_is_said_where_it_may_change(tiny: Settings) -> None:
    elastic = check([{"workers": "1..2", "images": {"batch": 2}}], tiny)
    state = TrainingState(elastic, "IVIF")
    assert group_note(state, elastic, 2) == ""
    state.epoch, state.meta_steps, state.fusion_steps = 3, 5, 5
    assert group_note(state, elastic, 1) == "epoch 4 goes on with 1 worker of --workers 1..2"
    assert group_note(state, check([{"workers": 2}], elastic), 2) == ""
