"""Real process groups: any number of workers with the same global batch computes the same training."""

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
from refusion.config.settings import Settings
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard, average_over_workers, gather_on_all
from refusion.training.loop import TaskTraining

pytestmark = pytest.mark.slow

# Of a whole module's parameters. Adam divides by the gradient's size and so blows up the last digits of small ones.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def settings(workers: int, **sections: object) -> Settings:
    return check(
        [
            {
                "workers": workers,
                "schedule": {"epochs": 1, "meta_iterations": 4, "fusion_steps": 4, "inner_steps": 2},
                "outer": {"ratio": 0.5},
                "images": {"crop": 24, "batch": 4},
                "network": {"blocks": 1},
                "validation": {"images": 2, "pictures": 0},
            },
            sections,
        ]
    )


class PreciseStore(PairStore):
    """The same pairs in whatever precision torch's default is."""

    def sources(self, index: int) -> Any:
        return super().sources(index).astype(self.precision)

    def batch(self, plans: Any, crop: int) -> Any:
        return super().batch(plans, crop).astype(self.precision)

    @property
    def precision(self) -> str:
        return str(torch.get_default_dtype()).removeprefix("torch.")


def train(rank: int, world: int, port: int, data: str, out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    told = settings(world)
    stores = [PreciseStore(find_and_check(Path(data), "MFIF", split)[0]) for split in ("train", "val")]
    for precision in (torch.float32, torch.float64):
        torch.set_default_dtype(precision)
        training = TaskTraining(told, "MFIF", *stores, Shard(rank, world), torch.device("cpu"))
        state = TrainingState(told, "MFIF")
        (report,) = training.epochs(state)
        weights = {
            name: torch.cat([value.flatten() for value in module.state_dict().values()])
            for name, module in state.modules().items()
        }
        file = f"{str(precision).removeprefix('torch.')}-{world}-{rank}.pt"
        torch.save({"weights": weights, "numbers": report.numbers}, Path(out) / file)
    assert gather_on_all(rank) == list(range(world))
    check_averages(rank, world)
    dist.barrier()
    # All is saved. gloo's threads, torn down at the interpreter's exit, now and then abort the process.
    os._exit(0)


def check_averages(rank: int, world: int) -> None:
    """The mean is right however the vector lies in memory, and the vector stays as it is."""
    middle = (world - 1) / 2
    for vector in (
        torch.full((5,), float(rank)),
        torch.full((10,), float(rank))[::2],
        torch.tensor(float(rank)).expand(5),
    ):
        # Twice: whoever keeps the vector may use it again.
        for _ in range(2):
            assert torch.equal(average_over_workers(vector), torch.full((5,), middle))
            assert torch.equal(vector, torch.full((5,), float(rank)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Result = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def trained(builtin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, int], Result]:
    """Results of every worker of runs with 1, 2 and 4 workers, by (precision, workers, rank)."""
    out = tmp_path_factory.mktemp("out")
    for world in (1, 2, 4):
        mp.start_processes(train, (world, free_port(), str(builtin), str(out)), nprocs=world, start_method="spawn")
    return {
        (precision, world, rank): torch.load(out / f"{precision}-{world}-{rank}.pt", weights_only=True)
        for precision in TOLERANCE
        for world in (1, 2, 4)
        for rank in range(world)
    }


def test_the_training_moved_every_module(trained: dict[tuple[str, int, int], Result]) -> None:
    for name, module in TrainingState(settings(1), "MFIF").modules().items():
        fresh = torch.cat([value.flatten() for value in module.state_dict().values()])
        assert (trained["float32", 1, 0]["weights"][name] - fresh).abs().max() > 1e-5, name


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_workers_end_in_the_parameters_of_one(
    trained: dict[tuple[str, int, int], Result], precision: str, world: int
) -> None:
    one, several = trained[precision, 1, 0]["weights"], trained[precision, world, 0]["weights"]
    for name in one:
        assert (several[name] - one[name]).norm() < TOLERANCE[precision] * one[name].norm(), name


@pytest.mark.parametrize("world", [2, 4])
def test_workers_agree_to_the_bit(trained: dict[tuple[str, int, int], Result], world: int) -> None:
    for rank in range(1, world):
        for name, value in trained["float32", world, 0]["weights"].items():
            assert torch.equal(value, trained["float32", world, rank]["weights"][name]), name


@pytest.mark.parametrize("world", [2, 4])
def test_losses_and_scores_are_those_of_the_whole_batch(
    trained: dict[tuple[str, int, int], Result], world: int
) -> None:
    one, several = trained["float64", 1, 0]["numbers"], trained["float64", world, 0]["numbers"]
    for name in one:
        if name.startswith("loss/"):
            assert several[name] == pytest.approx(one[name], rel=1e-9), name
    # Rounding to grey levels may tip single pixels.
    assert several["Qabf"] == pytest.approx(one["Qabf"], rel=1e-3)
    assert several["baseline/Qabf"] == one["baseline/Qabf"]


def test_one_process_needs_no_group() -> None:
    vector = torch.arange(3.0)
    assert average_over_workers(vector) is vector
    assert gather_on_all("mine") == ["mine"]
