"""The loss proposal module: weights that sum to one."""

from __future__ import annotations

import torch

from refusion.networks import LossProposalModule


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
