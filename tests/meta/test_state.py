from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refusion.config.network import NetworkSettings
from refusion.config.objective import ObjectiveSettings
from refusion.config.settings import OuterSettings, Settings
from refusion.meta.state import TrainingState

NETWORK = NetworkSettings(width=8, heads=4, blocks=1, reconstruction_width=4)


def settings(seed: int = 0, **others: object) -> Settings:
    return Settings.model_validate({"seed": seed, "network": NETWORK, **others})


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in state.modules().items()
        for key, value in module.state_dict().items()
    }


def same(one: TrainingState, other: TrainingState) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def take_steps(state: TrainingState, seed: int) -> None:
    """One step of each optimiser along random gradients, as training would take them."""
    generator = torch.Generator().manual_seed(seed)
    for module, adam in ((state.fusion, state.fusion_adam), (state.reconstruction, state.reconstruction_adam)):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        adam.param_groups[0]["lr"] = 1e-3
        adam.step()
        adam.zero_grad()
    state.outer.add([torch.randn(p.shape, generator=generator) for p in state.loss_proposal.parameters()], 1e-3)


def test_seed_and_task_alone_decide_the_initial_weights() -> None:
    reference = TrainingState(settings(), "IVIF")
    torch.manual_seed(12345)
    torch.rand(7)
    assert same(reference, TrainingState(settings(), "IVIF"))
    assert not same(reference, TrainingState(settings(seed=1), "IVIF"))
    assert not same(reference, TrainingState(settings(), "MIF"))


def test_the_callers_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    TrainingState(settings(), "IVIF")
    assert torch.equal(torch.rand(4), expected)


def test_modules_have_the_sizes_of_the_settings() -> None:
    modules = TrainingState(settings(), "IVIF").modules()
    assert list(modules) == ["fusion", "loss_proposal", "reconstruction"]
    sources = torch.rand(1, 2, 16, 16)
    fused = modules["fusion"](sources)
    assert fused.shape == (1, 1, 16, 16)
    assert modules["reconstruction"](fused).shape == sources.shape
    assert modules["fusion"].state_dict()["project_in_1.weight"].shape[0] == 8
    published = TrainingState(settings(network=NetworkSettings(output="image")), "IVIF").fusion
    assert sum(parameter.numel() for parameter in published.parameters()) == 59_856


def test_fusion_begins_at_the_average_unless_told_otherwise() -> None:
    def likeness(start: str) -> float:
        told = settings(network=NETWORK.model_copy(update={"start": start, "output": "image"}))
        sources = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            fused = TrainingState(told, "IVIF").fusion(sources)
        return float(torch.corrcoef(torch.stack([fused.flatten(), sources.mean(dim=1).flatten()]))[0, 1])

    assert likeness("average") > 0.95 > abs(likeness("random"))


@pytest.mark.parametrize(("gradient", "learned"), [("learned", True), ("maxabs", False)])
def test_gradient_weights_are_there_only_where_they_are_learned(gradient: str, learned: bool) -> None:
    state = TrainingState(settings(objective=ObjectiveSettings.model_validate({"gradient": gradient})), "IVIF")
    assert (state.loss_proposal(torch.rand(1, 2, 16, 16)).gradient is not None) is learned


@pytest.mark.parametrize("kind", ["normalised", "adam"])
def test_progress_survives_a_file_of_tensors_alone(kind: str, tmp_path: Path) -> None:
    told = settings(outer=OuterSettings.model_validate({"kind": kind, "accumulate": 2}))
    whole = TrainingState(told, "IVIF")
    for seed in range(3):
        take_steps(whole, seed)
    whole.epoch, whole.meta_steps, whole.fusion_steps, whole.best_score = 2, 30, 40, 0.5
    whole.validated_pairs = 7
    torch.save(whole.progress(), tmp_path / "state.pt")

    resumed = TrainingState(told, "IVIF")
    for name, module in resumed.modules().items():
        module.load_state_dict(whole.modules()[name].state_dict())
    resumed.load_progress(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (resumed.epoch, resumed.meta_steps, resumed.fusion_steps, resumed.best_score) == (2, 30, 40, 0.5)
    assert resumed.validated_pairs == 7
    for seed in range(3, 6):
        take_steps(whole, seed)
        take_steps(resumed, seed)
    assert same(whole, resumed)


def test_no_best_score_is_kept_as_none(tmp_path: Path) -> None:
    state = TrainingState(settings(), "IVIF")
    torch.save(state.progress(), tmp_path / "state.pt")
    state.best_score = 1.0
    state.load_progress(torch.load(tmp_path / "state.pt", weights_only=True))
    assert state.best_score is None


def test_a_checkpoint_from_before_validated_pairs_were_counted_still_loads() -> None:
    state = TrainingState(settings(), "IVIF")
    old = state.progress()
    del old["validated_pairs"]
    state.validated_pairs = 3
    state.load_progress(old)
    assert state.validated_pairs is None


@pytest.mark.parametrize("module", ["fusion", "loss_proposal", "reconstruction"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_lost_number_is_found(module: str, value: float) -> None:
    state = TrainingState(settings(), "IVIF")
    assert state.is_finite()
    with torch.no_grad():
        list(state.modules()[module].parameters())[-1].flatten()[0] = value
    assert not state.is_finite()
