from __future__ import annotations

from typing import Any

import pytest
import torch
from foreign_networks import Rebuild, Tiny, TwoWeights, Weights

from refusion.config.layers import check
from refusion.config.network import NetworkSettings
from refusion.config.settings import Settings
from refusion.meta.state import TrainingState
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule, start_from_average
from refusion.networks.registry import Proposal, build_modules, foreign_kinds

SMALL = {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1}


def network(**given: Any) -> NetworkSettings:
    return NetworkSettings.model_validate(SMALL | given)


def settings(crop: int = 16, **given: Any) -> Settings:
    return check([{"network": SMALL | given, "images": {"crop": crop}}])


def test_the_built_in_modules_are_drawn_in_one_order() -> None:
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"heads": 4, "blocks": 1, "expansion": 2}
    expected = (
        FusionModule(8, **sizes, output="mixture"),
        LossProposalModule(8, **sizes),
        ReconstructionModule(8, **sizes),
    )
    start_from_average(expected[0])
    torch.manual_seed(3)
    for found, wished in zip(build_modules(network()), expected, strict=True):
        torch.testing.assert_close(found.state_dict(), wished.state_dict(), rtol=0, atol=0)
        assert not found.training


def test_classes_of_the_users_take_the_places_with_their_options() -> None:
    chosen = network(
        kind="foreign_networks:Tiny",
        options={"width": 3, "scale": 2.0},
        loss_proposal_kind="foreign_networks:Weights",
        reconstruction_kind="foreign_networks:Rebuild",
    )
    fusion, proposal, reconstruction = build_modules(chosen)
    assert isinstance(fusion, Tiny)
    assert isinstance(reconstruction, Rebuild)
    assert (fusion.scale, fusion.body[0].out_channels) == (2.0, 3)
    assert not fusion.training
    weights = proposal(torch.rand(1, 2, 8, 9))
    assert torch.equal(weights.intensity, weights.gradient)
    assert foreign_kinds(chosen) == {
        "network.kind": "foreign_networks:Tiny",
        "network.loss_proposal_kind": "foreign_networks:Weights",
        "network.reconstruction_kind": "foreign_networks:Rebuild",
    }
    assert foreign_kinds(network()) == {}


@pytest.mark.parametrize("learned", [True, False])
def test_both_results_of_a_proposal_become_weights(learned: bool) -> None:
    x = torch.rand(2, 2, 8, 9)
    one, two = (Proposal(module, learned)(x) for module in (Weights(), TwoWeights()))
    assert (one.gradient is not None) == (two.gradient is not None) == learned
    if learned:
        assert not torch.equal(two.intensity, two.gradient)


def test_everything_random_of_a_users_class_follows_the_seed() -> None:
    states = [TrainingState(settings(kind="foreign_networks:Tiny"), "IVIF") for _ in range(2)]
    torch.testing.assert_close(states[0].fusion.state_dict(), states[1].fusion.state_dict(), rtol=0, atol=0)
