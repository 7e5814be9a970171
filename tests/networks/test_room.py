from __future__ import annotations

import psutil
import pytest
import torch
from torch import nn

from refusion.errors import UserError
from refusion.networks import FusionModule, fuse_full_size, room
from refusion.networks.reference import ReferenceFusionModule
from refusion.networks.room import peak_of_forward


class Wide(nn.Module):
    """Holds two maps of ten channels and one of one at its peak."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        maps = sources[:, :1].expand(-1, 10, -1, -1) * self.weight
        return (maps + 1).sum(dim=1, keepdim=True)


def test_the_most_that_is_held_at_a_time_is_counted() -> None:
    plane = 4 * 16 * 16
    assert peak_of_forward(Wide(), torch.rand(1, 2, 16, 16)) == 21 * plane
    assert peak_of_forward(Wide(), torch.rand(1, 2, 32, 16)) == 42 * plane


def test_a_network_without_the_memory_says_so_and_the_built_in_one_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(room, "LEAST_PIXELS", 1000)
    reference, sources = ReferenceFusionModule(width=8, heads=2, blocks=1).eval(), torch.rand(1, 2, 40, 50)
    whole = fuse_full_size(reference, sources)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100_000})())
    with pytest.raises(UserError, match=r"^ReferenceFusionModule: a picture of 50×40 pixels needs about 0 GB"):
        fuse_full_size(reference, sources)
    assert fuse_full_size(reference, sources[..., :20, :20]).shape == (1, 1, 20, 20)
    module = FusionModule(width=8, heads=2, blocks=1)
    module.load_state_dict(reference.state_dict())
    torch.testing.assert_close(fuse_full_size(module, sources), whole, rtol=0, atol=1e-5)
