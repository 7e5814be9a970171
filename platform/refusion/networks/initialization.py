"""Start of training: a fusion module whose image already is the average of its sources."""

from __future__ import annotations

import torch

from refusion.networks.fusion import FusionModule

# What the random channels add to the start; small, so that the average is what one sees.
_OTHER_CHANNELS = 0.1


@torch.no_grad()
def start_from_average(fusion: FusionModule) -> None:
    """Sets a fresh module's weights so that its output is a rising function of (a + b)/2, nearly.

    Every residual branch ends in zero weights, so that the blocks pass on what they get; one channel carries each
    source unchanged through ``project_in_*`` and their mean through ``project_out_*``; all other weights stay random.
    The authors do not say how they start; from here the first epochs go into fusing, not into finding the image.
    """
    for name, parameter in fusion.named_parameters():
        if name.endswith("project_out.weight") or name.startswith(("FM.project_mid", "FM.project_out")):
            parameter.zero_()
    width = fusion.project_out_0.out_channels
    for projection in (fusion.project_in_1, fusion.project_in_2):
        _pass_on(projection.weight[0], {0: 1.0})
    _pass_on(fusion.project_out_0.weight[0], {0: 0.5, width: 0.5})
    fusion.project_out_1.weight.mul_(_OTHER_CHANNELS)
    # Random channels alone, and small: a mixture of even shares is the average itself.
    if fusion.output == "image":
        _pass_on(fusion.project_out_1.weight[0, :1], {0: 1.0})


def _pass_on(kernels: torch.Tensor, shares: dict[int, float]) -> None:
    """Sets one output channel's kernels (in, 3, 3) to a weighted sum of unchanged input channels, and nothing else."""
    kernels.zero_()
    for channel, share in shares.items():
        kernels[channel, 1, 1] = share
