"""The fusion module F: two source images in, one fused image out.

Source: ReFusion (arXiv 2312.07943), the authors' released network. At the defaults it has 59,856 parameters, and its
state-dict names are those of the released weight files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import refusion.ops as ops
from refusion.config.network import Output
from refusion.networks.blocks import check_heads, conv1x1, conv3x3, depthwise3x3, stage
from refusion.objectives import image_gradient
from refusion.rewards import blur, radius_of

# Half a grey level: beyond it the logit's derivative would be large.
_LEAST = 1 / 510
# Wider than saliency's: what is decided is where there is a scene at all, not which source has it.
_SIGMA = 4.0


class CrossAttentionFusion(nn.Module):
    """Joins two streams of features: each takes attention with the other, then both gate what they have in common.

    Two tensors (B, H, W, C) to one (B, H, W, 2C), channels last.
    """

    def __init__(self, channels: int, heads: int, expansion: int) -> None:
        super().__init__()
        both = 2 * channels
        hidden = expansion * both
        self.temperature1 = nn.Parameter(torch.ones(heads, 1, 1))
        self.temperature2 = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv1 = conv1x1(channels, 3 * channels)
        self.qkv1_dwconv = depthwise3x3(3 * channels)
        self.qkv2 = conv1x1(channels, 3 * channels)
        self.qkv2_dwconv = depthwise3x3(3 * channels)
        self.project_mid1 = conv1x1(channels, channels)
        self.project_mid2 = conv1x1(channels, channels)
        self.project_E = conv1x1(both, 2 * hidden)
        self.project_E_d = depthwise3x3(2 * hidden)
        self.project_E1 = conv1x1(channels, hidden)
        self.project_E1_d = depthwise3x3(hidden)
        self.project_E2 = conv1x1(channels, hidden)
        self.project_E2_d = depthwise3x3(hidden)
        self.project_out1 = conv1x1(hidden, both)
        self.project_out2 = conv1x1(hidden, both)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        joined = ops.channel_cross_attention(
            x1,
            x2,
            (self.qkv1.weight, self.qkv1_dwconv.weight),
            (self.qkv2.weight, self.qkv2_dwconv.weight),
            (self.temperature1, self.temperature2),
            (self.project_mid1.weight.flatten(1), self.project_mid2.weight.flatten(1)),
        )
        return ops.gated_feed_forward(joined, *self.joint_feed_forward())

    def joint_feed_forward(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Weights of both gates and both values side by side, as one gated feed-forward network.

        A gate sees both streams, a value one of them only: its weights for the other are zero.

        Returns:
            Pointwise (·, 2C, 1, 1) and depthwise (·, 1, 3, 3) weights, and the projection (2C, ·, 1, 1).
        """
        own = torch.block_diag(self.project_E1.weight.flatten(1), self.project_E2.weight.flatten(1))
        pointwise = torch.cat((self.project_E.weight, own[:, :, None, None]))
        depthwise = torch.cat((self.project_E_d.weight, self.project_E1_d.weight, self.project_E2_d.weight))
        return pointwise, depthwise, torch.cat((self.project_out1.weight, self.project_out2.weight), dim=1)


class FusionModule(nn.Module):
    """F: the sources (B, 2, H, W) in [0, 1], a first, then b, to the fused image (B, 1, H, W) in (0, 1); any H, W ≥ 1.

    Args:
        width, heads, blocks, expansion: sizes.
        output: "image" finds the image's logits (published); "mixture" finds each pixel's share of source a, and what
            to add to the logits of the mixture, so that details of either source need not be drawn anew.
        even_below: energy of both sources' gradients at which a mixture's shares are half-way to one half, blur(G(a)² +
            G(b)²), Gaussian of 4 px; below it is noise, which the average of both has less of. 0: shares stay as found,
            and so they do in training mode, since a module that is trained with it adds the noise again.

    Attributes:
        even_below: as given, a buffer that weight files have too; None for 0.
        supports_vjp_of_jvp: its forward-mode derivative can be differentiated backward. Modules that use PyTorch's
            own LayerNorm or `F.normalize` cannot say so: in PyTorch 2.13 the result lacks terms.

    Raises:
        UserError: the heads do not divide the width.

    Example:
        >>> import torch
        >>> from refusion.networks import FusionModule
        >>> module = FusionModule()
        >>> sum(parameter.numel() for parameter in module.parameters())
        59856
        >>> module(torch.rand(4, 2, 20, 30)).shape
        torch.Size([4, 1, 20, 30])
    """

    supports_vjp_of_jvp = True

    def __init__(
        self,
        width: int = 16,
        heads: int = 8,
        blocks: int = 2,
        expansion: int = 2,
        output: Output = "image",
        even_below: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.output = output
        self.even_below: torch.Tensor | None
        self.register_buffer("even_below", torch.tensor(even_below) if even_below else None)
        self.project_in_1 = conv3x3(1, width)
        self.project_in_2 = conv3x3(1, width)
        self.encoder1 = stage(width, heads, expansion, blocks)
        self.encoder2 = stage(width, heads, expansion, blocks)
        self.FM = CrossAttentionFusion(width, heads, expansion)
        self.decoder = stage(2 * width, heads, expansion, blocks)
        self.project_out_0 = conv3x3(2 * width, width)
        self.project_out_1 = conv3x3(width, 2 if output == "mixture" else 1)

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        a, b = ops.to_channels_last(sources).chunk(2, dim=3)
        x1 = self.encoder1(ops.conv3x3(a, self.project_in_1.weight))
        x2 = self.encoder2(ops.conv3x3(b, self.project_in_2.weight))
        x = self.decoder(self.FM(x1, x2))
        x = F.leaky_relu(ops.conv3x3(x, self.project_out_0.weight), 0.01)
        found = ops.to_channels_first(ops.conv3x3(x, self.project_out_1.weight))
        return self.image(found, sources, None if self.training else self.trust(sources))

    @property
    def rings_of_image(self) -> int:
        """Pixels around a place whose sources decide, besides what was found there, what `image` makes of it."""
        return 0 if self.even_below is None else radius_of(_SIGMA) + 1

    def image(self, found: torch.Tensor, sources: torch.Tensor, trust: torch.Tensor | None) -> torch.Tensor:
        """Makes the fused image (B, 1, H, W) of what the last convolution found, and of the sources and their trust."""
        if self.output == "image":
            return torch.sigmoid(found)
        share, added = found.chunk(2, dim=1)
        a, b = sources.chunk(2, dim=1)
        of_a = torch.sigmoid(share)
        if trust is not None:
            of_a = 0.5 + (of_a - 0.5) * trust
        mixture = b + of_a * (a - b)
        return torch.sigmoid(added + torch.logit(mixture.clamp(_LEAST, 1 - _LEAST)))

    def trust(self, sources: torch.Tensor) -> torch.Tensor | None:
        """Returns how far from one half shares are left, (B, 1, H, W) in [0, 1); None where they stay as found."""
        if self.even_below is None:
            return None
        energy = blur(image_gradient(sources, "replicate").square().sum(dim=1, keepdim=True), _SIGMA)
        return energy / (energy + self.even_below)
