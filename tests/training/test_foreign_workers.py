"""Two real processes train a user's networks to the parameters that one ends in."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from refusion.config.layers import check
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.import_path import IMPORT_FOLDERS
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training.loop import TaskTraining

SUPPORT = Path(__file__).resolve().parents[1] / "support"
NETWORK = {
    "kind": "foreign_networks:Normed",
    "loss_proposal_kind": "foreign_networks:TwoWeights",
    "reconstruction_kind": "foreign_networks:Rebuild",
}


class DoubleStore(PairStore):
    """The same pairs in double precision."""

    def sources(self, index: int) -> Any:
        return super().sources(index).astype("float64")

    def batch(self, plans: Any, crop: int) -> Any:
        return super().batch(plans, crop).astype("float64")


def weights_after_training(rank: int, world: int, data: str) -> dict[str, torch.Tensor]:
    torch.set_default_dtype(torch.float64)
    settings = check(
        [
            {
                "workers": world,
                "schedule": {"epochs": 1, "meta_iterations": 3, "fusion_steps": 3, "inner_steps": 2, "rate": 1e-2},
                "images": {"crop": 24, "batch": 2},
                "network": NETWORK,
                "validation": {"images": 2, "pictures": 1},
            }
        ]
    )
    stores = [DoubleStore(find_and_check(Path(data), "MFIF", split)[0]) for split in ("train", "val")]
    state = TrainingState(settings, "MFIF")
    (report,) = TaskTraining(settings, "MFIF", *stores, Shard(rank, world), torch.device("cpu")).epochs(state)
    assert report.validated
    return {
        f"{name}.{key}": value for name, part in state.modules().items() for key, value in part.state_dict().items()
    }


def work(rank: int, world: int, port: int, data: str, out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.save(weights_after_training(rank, world, data), Path(out) / f"{rank}.pt")
    dist.barrier()
    # All is saved. gloo's threads, torn down at the interpreter's exit, now and then abort the process.
    os._exit(0)


@pytest.mark.slow
def test_two_workers_end_in_the_parameters_of_one(
    builtin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IMPORT_FOLDERS, str(SUPPORT))
    data = str(builtin)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    mp.start_processes(work, (2, port, data, str(tmp_path)), nprocs=2, start_method="spawn")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    try:
        one = weights_after_training(0, 1, data)
    finally:
        torch.set_default_dtype(torch.float32)
    assert any(name.startswith("fusion.norm.running_mean") for name in one)
    moved = 0
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], value, rtol=1e-9, atol=1e-12), name
        moved += name.endswith("weight")
    assert moved > 3
