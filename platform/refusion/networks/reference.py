"""The three modules computed the straightforward way: the reference that tests and benchmarks compare with.

Same parameters, same names, same mathematics as the modules they derive from, but written as the formulas read and as
public code of this family runs them: channels first, mean and variance as separate sums, every head's attention by
itself, 1×1 convolutions as convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from refusion.networks.blocks import Block, ChannelNorm, GatedFeedForward, TransposedAttention
from refusion.networks.fusion import CrossAttentionFusion, FusionModule
from refusion.networks.loss_proposal import LossProposalModule
from refusion.networks.reconstruction import ReconstructionModule


class ReferenceFusionModule(FusionModule):
    """F, straightforwardly: (B, 2, H, W) to (B, 1, H, W)."""

    supports_vjp_of_jvp = False

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        a, b = sources.chunk(2, dim=1)
        x1 = _stage(self.project_in_1(a), self.encoder1)
        x2 = _stage(self.project_in_2(b), self.encoder2)
        x = _stage(_cross_attention_fusion(x1, x2, self.FM), self.decoder)
        found = self.project_out_1(F.leaky_relu(self.project_out_0(x), 0.01))
        return self.image(found, sources, None if self.training else self.trust(sources))


class ReferenceLossProposalModule(LossProposalModule):
    """P, straightforwardly: (B, 2, H, W) to weights of the same shape."""

    def _features(self, sources: torch.Tensor) -> torch.Tensor:
        a, b = sources.chunk(2, dim=1)
        x1 = _stage(self.project_in_1(a), self.encoder1)
        x2 = _stage(self.project_in_2(b), self.encoder2)
        features: torch.Tensor = self.activation(self.project_out(_stage(torch.cat((x1, x2), dim=1), self.decoder)))
        return features


class ReferenceReconstructionModule(ReconstructionModule):
    """R, straightforwardly: (B, 1, H, W) to (B, 2, H, W)."""

    def _logits(self, fused: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.project_out(_stage(self.project_in(fused), self.body))
        return found


def _stage(x: torch.Tensor, blocks: nn.Sequential) -> torch.Tensor:
    for block in blocks:
        assert isinstance(block, Block)
        x = x + _self_attention(_norm(x, block.norm1), block.attn)
        x = x + _feed_forward(_norm(x, block.norm2), block.ffn)
    return x


def _norm(x: torch.Tensor, norm: ChannelNorm) -> torch.Tensor:
    pixels = x.flatten(2).transpose(1, 2)
    mean = pixels.mean(dim=2, keepdim=True)
    variance = pixels.var(dim=2, keepdim=True, unbiased=False)
    scaled = (pixels - mean) / torch.sqrt(variance + norm.body.eps) * norm.body.weight + norm.body.bias
    return scaled.transpose(1, 2).reshape(x.shape)


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = v.shape
    q, k, v = (maps.reshape(batch, temperature.shape[0], -1, height * width) for maps in (q, k, v))
    weights = F.normalize(q, dim=3) @ F.normalize(k, dim=3).transpose(2, 3) * temperature
    return (weights.softmax(dim=3) @ v).reshape(batch, channels, height, width)


def _self_attention(x: torch.Tensor, attention: TransposedAttention) -> torch.Tensor:
    q, k, v = attention.qkv_dwconv(attention.qkv(x)).chunk(3, dim=1)
    out: torch.Tensor = attention.project_out(_attention(q, k, v, attention.temperature))
    return out


def _feed_forward(x: torch.Tensor, ffn: GatedFeedForward) -> torch.Tensor:
    gate, value = ffn.dwconv(ffn.project_in(x)).chunk(2, dim=1)
    out: torch.Tensor = ffn.project_out(F.gelu(gate) * value)
    return out


def _cross_attention_fusion(x1: torch.Tensor, x2: torch.Tensor, fm: CrossAttentionFusion) -> torch.Tensor:
    q1, k1, v1 = fm.qkv1_dwconv(fm.qkv1(x1)).chunk(3, dim=1)
    q2, k2, v2 = fm.qkv2_dwconv(fm.qkv2(x2)).chunk(3, dim=1)
    x1 = x1 + fm.project_mid1(_attention(q2, k1, v1, fm.temperature1))
    x2 = x2 + fm.project_mid2(_attention(q1, k2, v2, fm.temperature2))
    joined = torch.cat((x1, x2), dim=1)
    gate1, gate2 = fm.project_E_d(fm.project_E(joined)).chunk(2, dim=1)
    h1 = F.gelu(gate1) * fm.project_E1_d(fm.project_E1(x1))
    h2 = F.gelu(gate2) * fm.project_E2_d(fm.project_E2(x2))
    out: torch.Tensor = joined + fm.project_out1(h1) + fm.project_out2(h2)
    return out
