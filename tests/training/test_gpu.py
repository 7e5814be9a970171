"""The same training on a CUDA device as on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refusion.config.layers import check
from refusion.images.builtin import ensure_builtin
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training.loop import TaskTraining


@pytest.mark.gpu
def test_a_cuda_device_trains_as_the_cpu_does(tmp_path: Path) -> None:
    data = ensure_builtin(tmp_path / "builtin")
    stores = [PairStore(find_and_check(data, "IVIF", split)[0]) for split in ("train", "val")]
    settings = check(
        [
            {
                "schedule": {"epochs": 1, "meta_iterations": 2, "fusion_steps": 3, "inner_steps": 2},
                "images": {"crop": 32, "batch": 2},
                "validation": {"images": 1, "pictures": 1},
            }
        ]
    )
    numbers = {}
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        state = TrainingState(settings, "IVIF", device)
        (report,) = TaskTraining(settings, "IVIF", *stores, Shard(), device).epochs(state)
        assert {parameter.device.type for parameter in state.fusion.parameters()} == {name}
        assert report.pictures
        numbers[name] = report.numbers
    for loss in ("loss/inner", "loss/outer", "loss/fusion", "loss/reconstruction"):
        assert numbers["cuda"][loss] == pytest.approx(numbers["cpu"][loss], rel=1e-4)
