"""The blocks against their definitions, written as formulas on (B, C, H, W)."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from refusion.errors import UserError
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
from refusion.networks.blocks import (
    Block,
    ChannelNorm,
    GatedFeedForward,
    TransposedAttention,
)
from refusion.networks.fusion import CrossAttentionFusion
from refusion.ops.convolutions import to_channels_first, to_channels_last

CHANNELS, HEADS = 8, 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def image(channels: int = CHANNELS) -> torch.Tensor:
    return torch.randn(2, channels, 7, 5, dtype=torch.float64)


def scrambled(module: torch.nn.Module) -> torch.nn.Module:
    """Module in float64, with no parameter left at a value that hides it, as a temperature of 1 would."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return module


def apply(module: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return to_channels_first(module(*(to_channels_last(x) for x in inputs)))


def plain_norm(x: torch.Tensor, norm: ChannelNorm) -> torch.Tensor:
    mean = x.mean(dim=1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * norm.body.weight.view(1, -1, 1, 1) + norm.body.bias.view(
        1, -1, 1, 1
    )


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = q.shape
    heads = temperature.shape[0]
    q, k, v = (x.reshape(batch, heads, channels // heads, height * width) for x in (q, k, v))
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * temperature
    return (scores.softmax(dim=-1) @ v).reshape(batch, channels, height, width)


def plain_gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def plain_feed_forward(x: torch.Tensor, ffn: GatedFeedForward) -> torch.Tensor:
    gate, value = ffn.dwconv(ffn.project_in(x)).chunk(2, dim=1)
    return ffn.project_out(plain_gelu(gate) * value)


def plain_self_attention(x: torch.Tensor, attention: TransposedAttention) -> torch.Tensor:
    q, k, v = attention.qkv_dwconv(attention.qkv(x)).chunk(3, dim=1)
    return attention.project_out(plain_attention(q, k, v, attention.temperature))


def test_channel_norm() -> None:
    norm, x = scrambled(ChannelNorm(CHANNELS)), image()
    torch.testing.assert_close(apply(norm, x), plain_norm(x, norm), rtol=1e-10, atol=1e-12)


def test_block() -> None:
    block, x = scrambled(Block(CHANNELS, HEADS, 2)), image()
    middle = x + plain_self_attention(plain_norm(x, block.norm1), block.attn)
    expected = middle + plain_feed_forward(plain_norm(middle, block.norm2), block.ffn)
    torch.testing.assert_close(apply(block, x), expected, rtol=1e-10, atol=1e-12)


def test_cross_attention_fusion() -> None:
    fm, x1, x2 = scrambled(CrossAttentionFusion(CHANNELS, HEADS, 2)), image(), image()
    q1, k1, v1 = fm.qkv1_dwconv(fm.qkv1(x1)).chunk(3, dim=1)
    q2, k2, v2 = fm.qkv2_dwconv(fm.qkv2(x2)).chunk(3, dim=1)
    y1 = x1 + fm.project_mid1(plain_attention(q2, k1, v1, fm.temperature1))
    y2 = x2 + fm.project_mid2(plain_attention(q1, k2, v2, fm.temperature2))
    joined = torch.cat((y1, y2), dim=1)
    gate1, gate2 = fm.project_E_d(fm.project_E(joined)).chunk(2, dim=1)
    h1 = plain_gelu(gate1) * fm.project_E1_d(fm.project_E1(y1))
    h2 = plain_gelu(gate2) * fm.project_E2_d(fm.project_E2(y2))
    expected = joined + fm.project_out1(h1) + fm.project_out2(h2)
    torch.testing.assert_close(apply(fm, x1, x2), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("module", [FusionModule, LossProposalModule, ReconstructionModule])
@pytest.mark.parametrize(("width", "heads"), [(12, 8), (8, 0), (0, 1)])
def test_heads_that_do_not_divide_the_width_are_refused(module: type, width: int, heads: int) -> None:
    with pytest.raises(UserError, match=r"--network\.width .* --network\.heads"):
        module(width=width, heads=heads)
