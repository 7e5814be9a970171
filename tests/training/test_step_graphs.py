"""Steps as CUDA graphs: the same training as without, on a GPU; nothing in between on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.store import PairStore
from refusion.meta.adam import load_adam, put_back, rated_adam, set_rate, snapshot
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training.loop import TaskTraining
from refusion.training.step_graphs import StepGraphs, _Saved

ON_IMAGE: dict[str, Any] = {
    "meta": {"space": "image"},
    "outer": {"kind": "adam", "accumulate": 1},
    "objective": {"reward": "salient", "channel_noise": 0.1, "gradient": "signed", "beta_ramp": "constant"},
    "network": {"equivariant": True},
}


def parameters(state: TrainingState) -> Tensor:
    return torch.cat([p.detach().flatten().cpu() for module in state.modules().values() for p in module.parameters()])


def test_on_a_cpu_a_step_is_simply_taken(tiny: Settings) -> None:
    graphs = StepGraphs(TrainingState(tiny, "IVIF"), torch.device("cpu"), note=pytest.fail)
    given = torch.rand(3)
    results = graphs.run("key", lambda x, rate: {"loss": rate * x.sum()}, x=given, rate=2.0)
    assert results["loss"] == 2 * given.sum()


def test_graphs_that_are_not_wanted_are_not_made(tiny: Settings) -> None:
    def recording() -> Any:
        pytest.fail("nothing is to be captured")

    graphs = StepGraphs(TrainingState(tiny, "IVIF"), torch.device("cpu"), pytest.fail, recording, captures=False)
    assert graphs.run("key", lambda x: {"loss": x.sum()}, x=torch.ones(3))["loss"] == 3


def test_trying_a_step_leaves_nothing_behind(tiny: Settings) -> None:
    state = TrainingState(check([ON_IMAGE], tiny), "IVIF")
    before, saved = parameters(state), _Saved(state)
    for adam in (state.fusion_adam, state.reconstruction_adam, state.outer.adam):
        assert adam is not None
        set_rate(adam, 0.1)
        for group in adam.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        adam.step()
    state.outer.sums[0] += 1
    state.outer.count = 7
    assert not torch.equal(parameters(state), before)
    saved.put_back()
    assert torch.equal(parameters(state), before)
    assert not state.outer.sums[0].any()
    assert state.outer.count == 0
    # No step was taken before, so the moments that there are now are those of a first step.
    assert all(not value.any() for values in state.fusion_adam.state.values() for value in values.values())


def test_moments_are_put_back_where_they_are() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    adam = rated_adam([parameter])
    parameter.grad = torch.tensor([1.0, 2.0, 3.0])
    adam.step()
    saved = snapshot(adam)
    place = adam.state[parameter]["exp_avg"].data_ptr()
    adam.step()
    put_back(adam, saved)
    assert adam.state[parameter]["exp_avg"].data_ptr() == place
    assert adam.state[parameter]["step"] == 1
    other = rated_adam([torch.nn.Parameter(torch.ones(3))])
    load_adam(other, adam.state_dict())
    assert other.state_dict()["state"][0]["step"] == 1


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["image", "parameters"])
def test_graphs_train_as_single_launches_do(
    tiny: Settings, train_store: PairStore, val_store: PairStore, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = check([ON_IMAGE if kind == "image" else {}, {"schedule": {"meta_iterations": 5}}], tiny)
    device = torch.device("cuda")
    # Of a GPU's convolutions some add in an order that changes from run to run.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    found = []
    for captures in (True, False):
        state = TrainingState(settings, "IVIF", device)
        training = TaskTraining(settings, "IVIF", train_store, val_store, Shard(), device, note=pytest.fail)
        if not captures:
            monkeypatch.setattr(StepGraphs, "run", lambda _, __, step, **inputs: step(**inputs))
        reports = list(training.epochs(state))
        found.append(torch.tensor([value for name, value in reports[-1].numbers.items() if name.startswith("loss/")]))
    # Sums whose order changes from run to run, and Adam, which makes a step of any gradient, move parameters by 1e-4.
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
