"""A training that two workers began, cut within an epoch after exactly so many steps, goes on with one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.runtime.storage import Folder
from refusion.training.checkpoints import read_metrics
from refusion.training.epochs.latest import LATEST, LatestCheckpoint
from refusion.training.loop import TaskTraining

pytestmark = pytest.mark.slow

CUT = 6


def settings(workers: int) -> Settings:
    return check(
        [
            {
                "workers": workers,
                "schedule": {"epochs": 1, "meta_iterations": 4, "fusion_steps": 5},
                "images": {"crop": 24, "batch": 4},
                "network": {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1},
                "validation": {"images": 2, "pictures": 0, "at_start": False},
                "checkpoints": {"every_steps": 3, "every_minutes": 0},
            }
        ]
    )


def training(workers: int, rank: int, data: Path, latest: LatestCheckpoint | None) -> TaskTraining:
    stores = [PairStore(find_and_check(data, "MFIF", split)[0]) for split in ("train", "val")]
    return TaskTraining(settings(workers), "MFIF", *stores, Shard(rank, workers), torch.device("cpu"), latest=latest)


def latest_of(folder: Path, workers: int, rank: int, record: object = None) -> LatestCheckpoint:
    told = record if callable(record) else lambda *_: None
    return LatestCheckpoint(Folder(str(folder)), settings(workers), "MFIF", Shard(rank, workers), print, told)


def begin(rank: int, port: int, data: str, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)

    def gone(state: TrainingState, _: Mapping[str, float]) -> None:
        if state.steps == CUT:
            dist.barrier()
            os._exit(0)

    state = TrainingState(settings(2), "MFIF")
    list(training(2, rank, Path(data), latest_of(Path(folder), 2, rank, gone)).epochs(state))


def test_it_ends_as_one_worker_would_have_ended_it(builtin: Path, tmp_path: Path) -> None:
    data, folder = builtin, tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    mp.start_processes(begin, (port, str(data), str(folder)), nprocs=2, start_method="spawn")
    assert read_metrics(folder / LATEST)["epoch"] == 0
    whole, fresh = (TrainingState(settings(1), "MFIF") for _ in range(2))
    resumed = latest_of(folder, 1, 0).newer_than(fresh)
    assert resumed is not None and (resumed.meta_steps, resumed.fusion_steps) == (4, CUT - 4)
    for state in (whole, resumed):
        list(training(1, 0, data, None).epochs(state))
    for name, module in whole.modules().items():
        for key, value in module.state_dict().items():
            torch.testing.assert_close(resumed.modules()[name].state_dict()[key], value, rtol=0, atol=1e-5)
