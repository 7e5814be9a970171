from __future__ import annotations

import pytest
import torch
from foreign_networks import OddOnly, Strided, Weights

from refusion.errors import UserError
from refusion.networks.full_size import fuse_full_size, pad_to_multiple, propose_full_size
from refusion.networks.registry import Proposal


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 24), (23, 37)])
def test_whole_pictures_of_any_size_are_fused_by_padding(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module, sources = Strided().eval(), torch.rand(1, 2, *size)
    fused = fuse_full_size(module, sources)
    assert fused.shape == (1, 1, *size)
    assert not fused.requires_grad
    if size == (16, 24):
        assert torch.equal(fused, module(sources))
    proposal = Proposal(Weights(), learn_gradient_weights=True)
    assert propose_full_size(proposal, sources).intensity.shape == sources.shape


def test_a_picture_that_does_not_fit_says_so() -> None:
    with pytest.raises(UserError, match=r"OddOnly: pictures of 9×8 pixels .* attribute `multiple`"):
        fuse_full_size(OddOnly(), torch.rand(1, 2, 8, 9))


def test_padding_reflects_below_and_on_the_right() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :3, :3], image)
    assert torch.equal(padded[..., :3, 3], image[..., 1])
    assert pad_to_multiple(image, 1) is image
