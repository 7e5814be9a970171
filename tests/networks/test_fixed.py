from __future__ import annotations

from typing import Any

import pytest
import torch

from refusion.config.layers import check
from refusion.errors import UserError
from refusion.meta.objective import loss_at
from refusion.meta.phases import fusion_update
from refusion.meta.state import TrainingState
from refusion.networks.fixed import HalfProposal, SaliencyProposal
from refusion.rewards import saliency

SIZES = {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8}


def state_with(kind: str, **schedule: Any) -> TrainingState:
    network = SIZES | {"loss_proposal_kind": f"refusion.networks.fixed:{kind}"}
    settings = {"network": network, "schedule": {"meta_iterations": 0} | schedule, "outer": {"kind": "adam"}}
    return TrainingState(check([settings]), "MFIF")


def test_the_weights_are_one_half_and_the_saliency() -> None:
    sources = torch.rand(2, 2, 24, 20, generator=torch.Generator().manual_seed(1))
    assert HalfProposal()(sources).unique().tolist() == [0.5]
    assert all(torch.equal(weights, saliency(sources)) for weights in SaliencyProposal()(sources))
    for of, pair in (("intensity", 1), ("gradient", 0)):
        weights = SaliencyProposal(of)(sources)
        assert weights[pair].unique().tolist() == [0.5] and torch.equal(weights[1 - pair], saliency(sources))


def test_saliency_prefers_the_source_that_is_in_focus() -> None:
    sharp = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, stride=1, padding=2, count_include_pad=False)
    weights = SaliencyProposal()(torch.cat((blurred, sharp), dim=1))
    assert all(float(pair[:, 1].mean()) > 0.8 for pair in weights)


@pytest.mark.parametrize("kind", ["HalfProposal", "SaliencyProposal"])
def test_f_is_trained_with_a_proposal_that_has_no_parameters(kind: str) -> None:
    state = state_with(kind)
    before = [parameter.clone() for parameter in state.fusion.parameters()]
    loss = loss_at(check([]).objective, 0, 1)
    losses = fusion_update(state, torch.rand(1, 2, 16, 16), rate=1e-3, loss=loss)
    assert all(torch.isfinite(value) for value in losses.values())
    assert any(not torch.equal(*pair) for pair in zip(before, state.fusion.parameters(), strict=True))
    # What a resume goes on from.
    state.load_progress(state.progress())


def test_meta_iterations_are_refused_where_they_would_move_nothing() -> None:
    with pytest.raises(UserError, match=r"--network\.loss_proposal_kind .*HalfProposal: has no parameters.*meta_it"):
        state_with("HalfProposal", meta_iterations=1)
