"""Steps that are replayed on the CPU as graphs are on a GPU: the same numbers, nothing read or copied by the host."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from gpus.graph_dry_run import DryRun, WaitedError, as_on_a_gpu
from torch import Tensor

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.device_store import pairs_on_device
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training import loop
from refusion.training.loop import TaskTraining
from refusion.training.step_graphs import StepGraphs

CPU = torch.device("cpu")
# β, η and the rate change in every epoch, or in every step.
SCHEDULED: dict[str, Any] = {
    "compile": False,
    "schedule": {
        "epochs": 2,
        "meta_iterations": 2,
        "fusion_steps": 1,
        "rate": {"kind": "cosine", "value": 1e-3},
        "inner_rate": {"kind": "cosine", "value": 0.3},
    },
    "validation": {"every": 9, "images": 1, "pictures": 0, "at_start": False},
}
WAYS: dict[str, dict[str, Any]] = {
    "on the image, Adam": {
        "meta": {"space": "image"},
        "outer": {"kind": "adam", "accumulate": 1},
        "objective": {"reward": "salient", "channel_noise": 0.1, "gradient": "signed"},
    },
    "on the image, published loss, swapped": {
        "meta": {"space": "image"},
        "outer": {"accumulate": 2},
        "images": {"swap": True},
        "schedule": {"inner_steps": 2},
        "objective": {"gradient": "learned", "beta_ramp": "linear"},
    },
    "through the parameters": {"meta": {"space": "parameters"}, "outer": {"kind": "normalised", "accumulate": 1}},
}


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(TaskTraining, "_measure", lambda *_: pytest.fail("not validated here"))
    monkeypatch.setattr(loop, "validate", None)


def trained(
    settings: Settings,
    store: PairStore,
    monkeypatch: pytest.MonkeyPatch,
    made: list[DryRun] | None,
) -> tuple[Tensor, list[dict[str, float]]]:
    """All parameters and the losses of each epoch, as graphs where ``made`` collects them."""

    def graphs(state: TrainingState, device: torch.device, _: Any) -> StepGraphs:
        def recording() -> DryRun:
            assert made is not None
            made.append(DryRun())
            return made[-1]

        return StepGraphs(state, device, note=pytest.fail, recording=None if made is None else recording)

    monkeypatch.setattr(loop, "StepGraphs", graphs)
    state = TrainingState(settings, "IVIF", CPU)
    training = TaskTraining(settings, "IVIF", store, store, Shard(), CPU)
    if made is not None:
        # Crops are cut within the graphs; without, they are the store's.
        training.held[settings.images.crop] = pairs_on_device(store, settings.images.crop, CPU, 1 << 30)
        assert training.held[settings.images.crop] is not None
    numbers = []
    for epoch in range(settings.schedule.epochs):
        assert state.epoch == epoch
        numbers.append(training.train_epoch(state, state_graphs(training, state)))
        state.end_epoch()
    parameters = [p.detach().flatten() for module in state.modules().values() for p in module.parameters()]
    return torch.cat(parameters), numbers


def state_graphs(training: TaskTraining, state: TrainingState) -> StepGraphs:
    """The same graphs for all epochs of a state."""
    if not hasattr(state, "graphs"):
        state.graphs = loop.StepGraphs(state, training.device, pytest.fail)  # type: ignore[attr-defined]
    graphs: StepGraphs = state.graphs  # type: ignore[attr-defined]
    return graphs


@pytest.mark.parametrize("way", WAYS)
def test_replays_give_what_single_launches_give(
    way: str, tiny: Settings, train_store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = check([WAYS[way], SCHEDULED], tiny)
    made: list[DryRun] = []
    weights, numbers = trained(settings, train_store, monkeypatch, made)
    plain, by_launch = trained(settings, train_store, monkeypatch, None)
    assert torch.equal(weights, plain)
    for mine, theirs in zip(numbers, by_launch, strict=True):
        same = {name for name in theirs if not name.startswith(("time/", "images_per"))}
        assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}
    # One for each phase, and for each place in the sum of gradients; none for another rate, η or β.
    assert len(made) == 1 + settings.outer.accumulate
    assert all(len(one.operations) > 100 and one.cuts == 0 for one in made)


def test_other_inner_steps_and_crops_make_graphs_of_their_own(
    tiny: Settings, train_store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = {"schedule": {"inner_steps": {0: 1, 1: 2}, "meta_iterations": 1, "fusion_steps": 1}}
    settings = check([changing, {"outer": {"accumulate": 1}}, SCHEDULED | {"schedule": {"epochs": 2}}], tiny)
    made: list[DryRun] = []
    weights, _ = trained(settings, train_store, monkeypatch, made)
    assert len(made) == 3
    assert torch.equal(weights, trained(settings, train_store, monkeypatch, None)[0])


def test_a_step_that_reads_a_number_is_not_captured(tiny: Settings) -> None:
    said: list[str] = []
    state = TrainingState(tiny, "IVIF")
    graphs = StepGraphs(state, CPU, said.append, recording=DryRun)

    def reading(x: Tensor, rate: float | Tensor) -> dict[str, Tensor]:
        return {"loss": x.sum() * float(rate)}

    before = copy.deepcopy(state.fusion.state_dict())
    for rate in (2.0, 3.0):
        assert graphs.run("key", reading, x=torch.ones(2), rate=rate)["loss"] == 2 * rate
    (note,) = said
    assert note.startswith("trains without CUDA graphs, only slower, since a step cannot be captured: aten._local_")
    assert all(torch.equal(value, before[name]) for name, value in state.fusion.state_dict().items())


@pytest.mark.parametrize(
    "what", [lambda x: torch.tensor([1.0, 2.0]) * x, lambda x: x[x > 0], lambda x: x * x.sum().item()]
)
def test_what_the_host_takes_part_in_is_found(what: Any) -> None:
    with pytest.raises(WaitedError):
        DryRun().record(lambda: what(torch.ones(2)))


def test_gradients_are_averaged_between_two_graphs(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import refusion.training.step_graphs as module

    # Two workers, of which the other has always three times the gradient.
    monkeypatch.setattr(module, "share_of_mean", lambda flat: flat / 2)
    monkeypatch.setattr(module, "sum_over_workers", lambda shares: shares.mul_(4))
    monkeypatch.setattr(module, "average_over_workers", lambda flat: flat / 2 * 4)
    made: list[DryRun] = []

    def recording() -> DryRun:
        made.append(DryRun())
        return made[-1]

    graphs = StepGraphs(TrainingState(tiny, "IVIF"), CPU, pytest.fail, recording=recording)

    def step(x: Tensor) -> dict[str, Tensor]:
        return {"loss": (graphs.average(x * 3) + 1).sum()}

    for value in (1.0, 5.0):
        assert graphs.run("key", step, x=torch.full((2,), value))["loss"] == 2 * (6 * value + 1)
    assert [one.cuts for one in made] == [1]
