"""Guards that the loss is still learned: a small training of two tasks with it and without, on the built-in scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from refusion.config.layers import check, for_task
from refusion.config.presets import read_preset
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training.loop import TaskTraining

BANDS: dict[str, dict[str, float]] = yaml.safe_load(Path(__file__).with_name("guard.yaml").read_text(encoding="utf-8"))

# The preset of the results in small; its prior is left out, so that whatever the weights know has been learned.
SMALL: dict[str, Any] = {
    "schedule": {
        "epochs": 4,
        "meta_iterations": 30,
        "fusion_steps": 60,
        "rate": {"kind": "cosine", "value": 3e-3, "end": 1e-5},
    },
    "outer": {"ratio": {0: 1e-6, 1: 1.0}},
    "images": {"crop": 32},
    "network": {"width": 8, "reconstruction_width": 8, "blocks": 1, "heads": 4, "prior": "none"},
    "validation": {"images": 100, "every": 100, "pictures": 0},
}


def quality(task: str, data: Path, changes: dict[str, Any]) -> float:
    """Mean Qabf after the training."""
    settings = for_task(check([read_preset("results"), SMALL, changes]), task)
    stores = [PairStore(find_and_check(data, task, split)[0]) for split in ("train", "val")]
    training = TaskTraining(settings, task, *stores, Shard(), torch.device("cpu"))
    *_, last = training.epochs(TrainingState(settings, task))
    return last.numbers["Qabf"]


@pytest.mark.slow
@pytest.mark.parametrize("task", BANDS)
def test_a_learned_loss_fuses_better_than_equal_weights(task: str, builtin: Path) -> None:
    band = BANDS[task]
    learned = quality(task, builtin, {})
    unlearned = quality(task, builtin, {"schedule": {"meta_iterations": 0}})
    assert band["lowest"] <= learned <= band["highest"]
    assert learned - unlearned >= band["margin"]
