"""The reconstruction module: one image in, two out."""

from __future__ import annotations

import pytest
import torch

from refusion.networks import ReconstructionModule


@pytest.mark.parametrize(("height", "width"), [(37, 53), (1, 1)])
def test_rebuilds_two_sources_of_the_same_size(height: int, width: int) -> None:
    torch.manual_seed(0)
    rebuilt = ReconstructionModule()(torch.rand(2, 1, height, width))
    assert rebuilt.shape == (2, 2, height, width)
    assert ((rebuilt > 0) & (rebuilt < 1)).all()
    assert not torch.allclose(rebuilt[:, 0], rebuilt[:, 1], atol=1e-3)
