"""Steps of several workers, replayed as CUDA graphs are: the same messages on each, also where one cannot capture."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from gpus.graph_dry_run import DryRun, as_on_a_gpu

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.ops.backend import configure
from refusion.runtime.distributed import Shard
from refusion.training.cuda_graphs import Call
from refusion.training.loop import TaskTraining
from refusion.training.step_graphs import StepGraphs

pytestmark = pytest.mark.slow

WORLD = 2
WAYS = ("eager", "graphs", "fails while it warms up", "fails while it captures", "fails at another step")
BROKEN = "operation not permitted when stream is capturing"


class Failing(DryRun):
    """Fails at the step's first all-reduce."""

    def apart(self, call: Call) -> None:
        raise RuntimeError(BROKEN)


class FailingEarly(StepGraphs):
    """Fails at the first all-reduce of a run that is for nothing yet."""

    def average(self, flat: torch.Tensor) -> torch.Tensor:
        if self._warms_up:
            raise RuntimeError("out of memory")
        return super().average(flat)


def graphs_of(way: str, rank: int, state: TrainingState, notes: list[str]) -> StepGraphs:
    """Runs a worker's steps; on the second one it fails."""
    cpu, made = torch.device("cpu"), list[DryRun]()
    broken = way if rank == 1 else ""

    def recording() -> DryRun:
        fails = broken == "fails while it captures" or (broken == "fails at another step" and made)
        made.append(Failing() if fails else DryRun())
        return made[-1]

    kind = FailingEarly if broken == "fails while it warms up" else StepGraphs
    return kind(state, cpu, notes.append, recording=None if way == "eager" else recording)


def train(rank: int, port: int, pairs: str, told: Settings, out: str) -> None:
    """One worker's part of the same training in each way."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    as_on_a_gpu(pytest.MonkeyPatch())
    configure(compile=False)  # which a record does not see
    store = PairStore(find_and_check(Path(pairs), "IVIF", "train")[0])
    messages: list[int] = []
    all_reduce = dist.all_reduce

    def noted(tensor: torch.Tensor, **options: Any) -> Any:
        messages.append(tensor.numel())
        return all_reduce(tensor, **options)

    dist.all_reduce = noted
    for way in WAYS:
        messages.clear()
        notes: list[str] = []
        state = TrainingState(told, "IVIF")
        training = TaskTraining(told, "IVIF", store, store, Shard(rank, WORLD), torch.device("cpu"))
        graphs = graphs_of(way, rank, state, notes)
        for _ in range(told.schedule.epochs):
            training.train_epoch(state, graphs)
            state.end_epoch()
        weights = torch.cat([p.detach().flatten() for module in state.modules().values() for p in module.parameters()])
        found = {"weights": weights, "messages": list(messages), "notes": notes, "captures": graphs.captures}
        torch.save(found, Path(out) / f"{WAYS.index(way)}-{rank}.pt")
    dist.barrier()
    # All is saved. gloo's threads, torn down at the interpreter's exit, now and then abort the process.
    os._exit(0)


@pytest.fixture(scope="module")
def found(tiny: Settings, pair_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """By way, what each worker ended with."""
    out = tmp_path_factory.mktemp("out")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    told = check([{"workers": WORLD, "outer": {"accumulate": 1}}], tiny)
    mp.start_processes(train, (port, str(pair_folder), told, str(out)), nprocs=WORLD, start_method="spawn")
    return {
        way: [torch.load(out / f"{place}-{rank}.pt", weights_only=True) for rank in range(WORLD)]
        for place, way in enumerate(WAYS)
    }


@pytest.mark.parametrize("way", WAYS)
def test_each_worker_sends_the_same_and_becomes_the_same(found: dict[str, list[Any]], way: str) -> None:
    (first, second), (eager, _) = found[way], found["eager"]
    assert first["messages"] == second["messages"]
    assert torch.equal(first["weights"], second["weights"])
    assert torch.equal(first["weights"], eager["weights"])
    # A step's all-reduces are those without graphs; one number more for each step that was tried.
    assert [size for size in first["messages"] if size > 1] == [size for size in eager["messages"] if size > 1]


def test_graphs_stay_on_or_are_left_on_all_workers(found: dict[str, list[Any]]) -> None:
    assert [one["captures"] for one in found["graphs"]] == [True, True]
    assert [one["notes"] for one in found["graphs"]] == [[], []]
    reasons = {WAYS[2]: "out of memory", WAYS[3]: BROKEN, WAYS[4]: BROKEN}
    for way, reason in reasons.items():
        assert [one["captures"] for one in found[way]] == [False, False]
        ((other,), (own,)) = (one["notes"] for one in found[way])
        assert other.endswith("cannot be captured: another worker could not")
        assert own.endswith(f"cannot be captured: {reason}")
