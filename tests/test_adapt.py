"""Adapting a fusion module by the loss that its training has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from shipped_modules import tiny_checkpoint
from torch import nn
from written_pairs import write_pairs

from refusion.adapt import Adaptation, LearnedLoss, adapt, load_learned_loss
from refusion.checksums import write_checksums
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.fuse import load_module
from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Pair
from refusion.meta.objective import loss_at
from refusion.meta.phases import fusion_update
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss
from refusion.training.checkpoints import load_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "run", seed=3, objective={"beta": 2.0}, schedule={"epochs": 4})


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    write_pairs(tmp_path / "pairs", "IVIF", "val", 3)
    return find_and_check(tmp_path / "pairs", "IVIF", "val")[0]


def state_of(checkpoint: Path) -> TrainingState:
    content = yaml.safe_load((checkpoint / "settings.yaml").read_text())
    state = TrainingState(check([{name: value for name, value in content.items() if name != "task"}]), "IVIF")
    load_checkpoint(checkpoint, state)
    return state


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_steps_are_those_of_the_fusion_updates_of_a_training(checkpoint: Path) -> None:
    learned, state = load_learned_loss(checkpoint, "IVIF"), state_of(checkpoint)
    batches = [torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(step)) for step in range(3)]
    losses: list[float] = []
    adapted = adapt(state.fusion, learned.proposal, learned.loss, batches, rate=1e-3, on_step=losses.append)
    loss = FusionLoss(0.05, beta=2.0, gradient="signed", weighting="linear")
    expected = [float(fusion_update(state, one, rate=1e-3, loss=loss, swap=False)["fusion"]) for one in batches]
    assert losses == pytest.approx(expected)
    assert torch.allclose(weights(adapted), weights(state.fusion), atol=1e-6)


def test_the_modules_that_are_given_stay_as_they_are(checkpoint: Path) -> None:
    learned, module = load_learned_loss(checkpoint, "IVIF"), load_module(checkpoint)
    before = weights(module), weights(learned.proposal)
    adapted = adapt(module, learned.proposal, learned.loss, [torch.rand(1, 2, 16, 16)], rate=1e-2)
    assert torch.equal(weights(module), before[0]) and torch.equal(weights(learned.proposal), before[1])
    assert not torch.equal(weights(adapted), before[0])
    assert all(parameter.grad is None for parameter in [*adapted.parameters(), *learned.proposal.parameters()])


def test_the_learned_loss_falls_on_what_it_was_adapted_to(checkpoint: Path, pairs: list[Pair]) -> None:
    learned, module = load_learned_loss(checkpoint, "IVIF"), load_module(checkpoint)
    losses: list[float] = []
    batches = list(Adaptation(learned, "IVIF", 1, 1e-3)._batches_of(pairs)) * 12
    adapt(module, learned.proposal, learned.loss, batches, rate=3e-3, on_step=losses.append)
    assert losses[-1] < 0.9 * losses[0]


def test_it_is_the_same_whenever_it_is_done_again(checkpoint: Path, pairs: list[Pair]) -> None:
    module, steps = load_module(checkpoint), []
    adaptation = Adaptation(load_learned_loss(checkpoint, "IVIF"), "IVIF", 2, 1e-3)
    one = adaptation.to_pairs(module, pairs, lambda done, of: steps.append((done, of)))
    assert torch.equal(weights(one), weights(adaptation.to_pairs(module, pairs)))
    assert not torch.equal(weights(one), weights(adaptation.to_pairs(module, pairs[:1])))
    assert steps == [(1, 2), (2, 2)]


def test_batches_are_cropped_and_swapped_as_in_the_training(checkpoint: Path, pairs: list[Pair]) -> None:
    learned = load_learned_loss(checkpoint, "IVIF")
    for swap, size in ((True, 6), (False, 3)):
        settings = check([{"images": {"crop": {0: 32, 3: 24}, "batch": 3, "swap": swap}}], learned.settings)
        adaptation = Adaptation(LearnedLoss(learned.proposal, learned.loss, settings), "IVIF", 2, 1e-3)
        assert [batch.shape for batch in adaptation._batches_of(pairs)] == [(size, 2, 24, 24)] * 2


def test_p_and_the_loss_are_those_of_the_last_epoch(checkpoint: Path) -> None:
    learned, state = load_learned_loss(checkpoint, "IVIF"), state_of(checkpoint)
    assert torch.equal(weights(learned.proposal), weights(state.loss_proposal))
    assert learned.loss == loss_at(check([{"objective": {"beta": 2.0, "beta_ramp": "constant"}}]).objective, 0, 1)
    assert not learned.proposal.training


def test_a_single_file_of_the_checkpoint_does_too(checkpoint: Path) -> None:
    learned = load_learned_loss(checkpoint / "fusion.safetensors", "IVIF")
    assert torch.equal(weights(learned.proposal), weights(load_learned_loss(checkpoint, "IVIF").proposal))


@pytest.mark.parametrize("name", ["loss_proposal.safetensors", "settings.yaml"])
def test_a_checkpoint_without_p_is_refused(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(
        UserError, match=r"--adapt: .*run has no loss_proposal\.safetensors, so no loss to adapt by; give"
    ):
        load_learned_loss(checkpoint, "IVIF")


def test_settings_of_another_p_are_refused(checkpoint: Path) -> None:
    content = yaml.safe_load((checkpoint / "settings.yaml").read_text())
    content["network"]["blocks"] = 2
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"loss_proposal\.safetensors: does not hold the module that settings\.yaml"):
        load_learned_loss(checkpoint, "IVIF")


@pytest.mark.parametrize("content", ["[", "3", "[1, 2]", "null"])
def test_settings_that_are_none_are_refused(checkpoint: Path, content: str) -> None:
    (checkpoint / "settings.yaml").write_text(content)
    with pytest.raises(UserError, match=r"settings\.yaml: cannot be read as a checkpoint's settings"):
        load_learned_loss(checkpoint, "IVIF")


@pytest.mark.parametrize(
    ("changes", "setting", "path"),
    [
        ({"network": {"loss_proposal_kind": "os:system"}}, "network.loss_proposal_kind", "os:system"),
        ({"objective": {"kind": "os:system"}}, "objective.kind", "os:system"),
    ],
)
def test_code_that_the_checkpoint_names_is_not_run_unasked(
    checkpoint: Path, changes: dict[str, Any], setting: str, path: str
) -> None:
    content = yaml.safe_load((checkpoint / "settings.yaml").read_text())
    for section, values in changes.items():
        content[section] |= values
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"its {setting} is {path}, code from outside of this package"):
        load_learned_loss(checkpoint, "IVIF", trust_code=["another:thing"])


def test_a_loss_of_the_users_own_is_used_where_it_is_trusted(checkpoint: Path) -> None:
    content = yaml.safe_load((checkpoint / "settings.yaml").read_text())
    content["objective"]["kind"] = "foreign_objectives:squared_loss"
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump(content))
    write_checksums(checkpoint)
    learned = load_learned_loss(checkpoint, "IVIF", trust_code=["foreign_objectives:squared_loss"])
    module = load_module(checkpoint)
    adapted = adapt(module, learned.proposal, learned.loss, [torch.rand(1, 2, 16, 16)], rate=1e-2)
    assert not torch.equal(weights(adapted), weights(module))
