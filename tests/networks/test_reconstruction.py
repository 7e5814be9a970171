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


def test_from_fused_begins_with_the_fused_image() -> None:
    torch.manual_seed(0)
    fused = torch.rand(2, 1, 12, 10) * 0.9 + 0.05
    plain, residual = (ReconstructionModule(8, 4, 1, from_fused=is_so) for is_so in (False, True))
    residual.load_state_dict(plain.state_dict())
    # The same network, on top of the image: in log-odds they differ by the image alone.
    difference = torch.logit(residual(fused)) - torch.logit(plain(fused))
    torch.testing.assert_close(difference, torch.logit(fused).expand_as(difference), rtol=0, atol=1e-4)
    assert torch.isfinite(residual(torch.tensor([-0.3, 0.0, 1.0, 1.4]).view(1, 1, 2, 2))).all()
