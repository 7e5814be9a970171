"""The loss proposal module: weights that sum to one."""

from __future__ import annotations

import pytest
import torch

from refusion.config.objective import Learned
from refusion.networks import LossProposalModule
from refusion.networks.loss_proposal import propose
from refusion.rewards import saliency


def test_weights_sum_to_one() -> None:
    torch.manual_seed(0)
    sources = torch.rand(2, 2, 37, 53)
    for pair in LossProposalModule()(sources):
        assert pair.shape == sources.shape
        assert ((pair > 0) & (pair < 1)).all()
        torch.testing.assert_close(pair.sum(dim=1), torch.ones(2, 37, 53), rtol=0, atol=1e-6)


def test_the_two_pairs_are_two_proposals() -> None:
    torch.manual_seed(0)
    intensity, gradient = LossProposalModule(8, 4, 1)(torch.rand(1, 2, 9, 11))
    assert not torch.allclose(intensity, gradient, atol=1e-3)


def test_without_gradient_weights() -> None:
    torch.manual_seed(0)
    with_both = LossProposalModule(8, 4, 1)
    module = LossProposalModule(8, 4, 1, learn_gradient_weights=False)
    weights = module(torch.rand(1, 2, 9, 11))
    assert weights.gradient is None
    assert with_both.state_dict().keys() - module.state_dict().keys() == {"gradient.weight"}


def test_the_order_of_the_sources_only_exchanges_an_equivariant_modules_weights() -> None:
    torch.manual_seed(1)
    sources = torch.rand(2, 2, 12, 10, dtype=torch.float64)
    plain, equivariant = (LossProposalModule(8, 4, 1, equivariant=is_so).double() for is_so in (False, True))
    for there, back in zip(equivariant(sources), equivariant(sources.flip(1)), strict=True):
        torch.testing.assert_close(back, there.flip(1), rtol=0, atol=1e-12)
    assert not torch.allclose(plain(sources.flip(1)).intensity, plain(sources).intensity.flip(1), atol=1e-3)


def test_the_weights_of_swapped_copies_are_those_of_the_doubled_batch() -> None:
    torch.manual_seed(2)
    sources = torch.rand(2, 2, 12, 10, dtype=torch.float64)
    doubled = torch.cat((sources, sources.flip(1)))
    for is_equivariant in (False, True):
        module = LossProposalModule(8, 4, 1, equivariant=is_equivariant).double()
        for ours, expected in zip(propose(module, sources, swap=True), module(doubled), strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
        assert torch.equal(propose(module, sources, swap=False).intensity, module(sources).intensity)


def test_centred_logits_leave_no_source_out_of_the_whole_picture() -> None:
    torch.manual_seed(3)
    sources = torch.rand(2, 2, 12, 10)
    module = LossProposalModule(8, 4, 1, centred=True)
    with torch.no_grad():
        module.intensity.weight.mul_(100)
    weights = module(sources).intensity
    # The mean of the log-odds is 0 in each picture, however large they are.
    odds = (weights[:, 0].double().log() - weights[:, 1].double().log()).mean(dim=(1, 2))
    assert odds.abs().max() < 1e-2
    assert weights.std() > 0.1


@pytest.mark.parametrize("learned", ["intensity", "gradient"])
def test_the_pair_that_is_not_learned_stays_at_one_half(learned: Learned) -> None:
    torch.manual_seed(4)
    module = LossProposalModule(8, 4, 1, equivariant=True, learned=learned, prior="saliency")
    weights = module(torch.rand(1, 2, 12, 10))
    moving, fixed = weights if learned == "intensity" else weights[::-1]
    assert torch.equal(fixed, torch.full_like(fixed, 0.5))
    assert moving.std() > 0
    gradients = torch.autograd.grad(
        (fixed * torch.rand_like(fixed)).sum(), list(module.parameters()), allow_unused=True
    )
    assert all(gradient is None or not gradient.any() for gradient in gradients)


def test_with_saliency_as_its_prior_the_module_changes_the_odds_of_saliency() -> None:
    torch.manual_seed(5)
    sources = torch.rand(2, 2, 12, 10, dtype=torch.float64)
    plain, module = (
        LossProposalModule(8, 4, 1, equivariant=True, prior=prior).double() for prior in ("none", "saliency")
    )
    module.load_state_dict(plain.state_dict())
    for ours, without in zip(module(sources), plain(sources), strict=True):
        expected = saliency(sources) * without
        torch.testing.assert_close(ours, expected / expected.sum(dim=1, keepdim=True), rtol=1e-9, atol=1e-12)
