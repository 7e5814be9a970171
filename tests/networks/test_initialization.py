from __future__ import annotations

import pytest
import torch
from skimage.data import camera, coins

from refusion.config.network import Output
from refusion.networks import FusionModule, start_from_average
from refusion.objectives import FusionWeights, fusion_loss


def pictures() -> torch.Tensor:
    """A pair of real pictures, (1, 2, 96, 128)."""
    return torch.stack([torch.from_numpy(image[100:196, 100:228] / 255.0) for image in (camera(), coins())])[
        None
    ].float()


def correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("width", "output"), [(8, "image"), (16, "image"), (16, "mixture")])
def test_the_first_image_is_the_average_nearly(seed: int, width: int, output: Output) -> None:
    torch.manual_seed(seed)
    fusion = FusionModule(width, output=output)
    sources = pictures()
    start_from_average(fusion)
    fused = fusion(sources).detach()
    assert correlation(fused, sources.mean(dim=1, keepdim=True)) > 0.98


def test_every_weight_can_still_learn() -> None:
    """Two plain steps away from the start no gradient is zero any more."""
    torch.manual_seed(0)
    fusion = FusionModule()
    start_from_average(fusion)
    sources = pictures()[..., :32, :32]
    halves = FusionWeights(torch.full_like(sources, 0.5), torch.full_like(sources, 0.5))
    optimiser = torch.optim.SGD(fusion.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        fusion_loss(fusion(sources), sources, halves).backward()
        optimiser.step()
    dead = [name for name, parameter in fusion.named_parameters() if not parameter.grad.abs().max() > 0]
    assert not dead
