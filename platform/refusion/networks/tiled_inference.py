"""The fusion module's forward pass for whole pictures: strip by strip, without a graph.

What makes a full-size pass slow and large are the wide intermediate results (four times the width, for each pixel),
which no cache holds. They depend on a pixel's neighbours only, so they are made for a few rows at a time and dropped.
What attention needs of the whole picture are sums over its pixels: they are added up strip by strip. Between blocks
only the narrow feature maps stand in memory. The mathematics is that of `FusionModule.forward`, with other sums first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from refusion.networks.blocks import (
    Block,
    ChannelNorm,
    GatedFeedForward,
    convolve,
    mix_channels,
)
from refusion.networks.fusion import CrossAttentionFusion, FusionModule
from refusion.ops.channel_attention import Sums, mixing_matrix
from refusion.ops.convolutions import to_channels_first, to_channels_last
from refusion.ops.fused_op import pixels_at_once
from refusion.ops.native.depthwise import Filtered
from refusion.ops.native.reductions import blend, can_blend, dots, products


class _Rows(NamedTuple):
    """A strip: rows ``top`` to ``bottom``, and with the row that a 3×3 convolution needs on either side, if there."""

    top: int
    bottom: int
    above: int
    below: int

    def inner(self, x: torch.Tensor) -> torch.Tensor:
        """The strip's own rows of what was computed with its neighbours."""
        return x[:, self.top - self.above : self.bottom - self.above]

    def outer(self, x: torch.Tensor) -> torch.Tensor:
        """The strip of a whole image, with its neighbours."""
        return x[:, self.above : self.below]


@torch.no_grad()
def fuse_tiled(module: FusionModule, sources: torch.Tensor) -> torch.Tensor:
    """What `module(sources)` gives, to rounding, in less time and memory; nothing can be differentiated through it.

    Args:
        module: where it is, there the work is done.
        sources: (B, 2, H, W) in [0, 1], a first, then b.

    Returns:
        The fused images, (B, 1, H, W) in (0, 1).
    """
    a, b = to_channels_last(sources).chunk(2, dim=3)
    x1 = _stage(convolve(a, module.project_in_1), module.encoder1)
    x2 = _stage(convolve(b, module.project_in_2), module.encoder2)
    x = _stage(_cross_attention_fusion(x1, x2, module.FM), module.decoder)
    x = F.leaky_relu(convolve(x, module.project_out_0), 0.01, inplace=True)
    return torch.sigmoid(to_channels_first(convolve(x, module.project_out_1)))


def _strips(x: torch.Tensor) -> Iterator[_Rows]:
    batch, height, width, _ = x.shape
    rows = max(4, pixels_at_once(x.device.type == "cpu") // max(1, batch * width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield _Rows(top, bottom, max(top - 1, 0), min(bottom + 1, height))


def _stage(x: torch.Tensor, blocks: nn.Sequential) -> torch.Tensor:
    for block in blocks:
        assert isinstance(block, Block)
        x = _block(x, block)
    return x


def _block(x: torch.Tensor, block: Block) -> torch.Tensor:
    attn = block.attn
    sums = _no_sums(x)
    v = x.new_empty(x.shape)
    for rows in _strips(x):
        q, k, value = _depthwise(rows.outer(x), block.norm1, attn.qkv, attn.qkv_dwconv, rows).chunk(3, dim=3)
        _add(sums, q, k)
        v[:, rows.top : rows.bottom] = value
    matrix = _matrix(sums, attn.temperature, attn.project_out)
    out = x.new_empty(x.shape)
    for rows in _strips(x):
        attended = _attended(rows.outer(x), matrix, rows.outer(v))
        out[:, rows.top : rows.bottom] = _feed_forward(attended, block.norm2, block.ffn, rows)
    return out


def _feed_forward(x: torch.Tensor, norm: ChannelNorm, ffn: GatedFeedForward, rows: _Rows) -> torch.Tensor:
    """Its own rows of a strip with neighbours, with the residual."""
    of_norm = norm.body.weight, norm.body.bias
    by_rows = Filtered.gated([x, *of_norm, ffn.project_in.weight, ffn.dwconv.weight, ffn.project_out.weight])
    if by_rows.is_compiled():
        return rows.inner(by_rows.result())
    gate, value = _depthwise(x, norm, ffn.project_in, ffn.dwconv, rows).chunk(2, dim=3)
    return rows.inner(x) + mix_channels(F.gelu(gate).mul_(value), ffn.project_out)


def _depthwise(
    x: torch.Tensor, norm: ChannelNorm | None, mix: nn.Conv2d, depthwise: nn.Conv2d, rows: _Rows
) -> torch.Tensor:
    """Its own rows of a strip with neighbours, after a norm, if any, a 1×1 and a depth-wise 3×3 convolution."""
    of_norm = [] if norm is None else [norm.body.weight, norm.body.bias]
    by_rows = Filtered.plain([x, *of_norm, mix.weight, depthwise.weight])
    if by_rows.is_compiled():
        return rows.inner(by_rows.result())
    source = x if norm is None else norm(x)
    return rows.inner(convolve(mix_channels(source, mix), depthwise))


def _cross_attention_fusion(x1: torch.Tensor, x2: torch.Tensor, fm: CrossAttentionFusion) -> torch.Tensor:
    v1, v2 = x1.new_empty(x1.shape), x2.new_empty(x2.shape)
    sums1, sums2 = _no_sums(x1), _no_sums(x2)
    for rows in _strips(x1):
        own = slice(rows.top, rows.bottom)
        q1, k1, v1[:, own] = _depthwise(rows.outer(x1), None, fm.qkv1, fm.qkv1_dwconv, rows).chunk(3, dim=3)
        q2, k2, v2[:, own] = _depthwise(rows.outer(x2), None, fm.qkv2, fm.qkv2_dwconv, rows).chunk(3, dim=3)
        _add(sums1, q2, k1)
        _add(sums2, q1, k2)
    matrix1 = _matrix(sums1, fm.temperature1, fm.project_mid1)
    matrix2 = _matrix(sums2, fm.temperature2, fm.project_mid2)
    out = x1.new_empty((*x1.shape[:3], 2 * x1.shape[3]))
    gating = fm.gating()
    for rows in _strips(x1):
        y1 = _attended(rows.outer(x1), matrix1, rows.outer(v1))
        y2 = _attended(rows.outer(x2), matrix2, rows.outer(v2))
        joined = torch.cat((y1, y2), dim=3)
        by_rows = Filtered.gated([joined, *gating])
        if by_rows.is_compiled():
            out[:, rows.top : rows.bottom] = rows.inner(by_rows.result())
            continue
        gate1, gate2 = _depthwise(joined, None, fm.project_E, fm.project_E_d, rows).chunk(2, dim=3)
        h1 = F.gelu(gate1).mul_(_depthwise(y1, None, fm.project_E1, fm.project_E1_d, rows))
        h2 = F.gelu(gate2).mul_(_depthwise(y2, None, fm.project_E2, fm.project_E2_d, rows))
        half = rows.inner(joined) + mix_channels(h1, fm.project_out1)
        out[:, rows.top : rows.bottom] = half + mix_channels(h2, fm.project_out2)
    return out


def _no_sums(x: torch.Tensor) -> Sums:
    """Of nothing yet; in double precision, since a large picture has many strips."""
    batch, channels = x.shape[0], x.shape[3]
    lengths = torch.zeros(2, batch, channels, dtype=torch.float64, device=x.device)
    return Sums(lengths.new_zeros(batch, channels, channels), *lengths)


def _add(sums: Sums, q: torch.Tensor, k: torch.Tensor) -> None:
    """One more strip, channels last."""
    flat_q, flat_k = q.flatten(1, 2), k.flatten(1, 2)
    if can_blend(q):
        sums.products.add_(products((flat_q, flat_k)))
        sums.of_q.add_(dots(flat_q, flat_q))
        sums.of_k.add_(dots(flat_k, flat_k))
        return
    sums.products.add_(flat_q.transpose(1, 2) @ flat_k)
    sums.of_q.add_(flat_q.square().sum(dim=1))
    sums.of_k.add_(flat_k.square().sum(dim=1))


def _matrix(sums: Sums, temperature: torch.Tensor, project: nn.Conv2d) -> torch.Tensor:
    """What v is multiplied by, (B, outputs, C)."""
    found = mixing_matrix(sums, temperature.double(), project.weight.flatten(1).double())
    return found.to(project.weight.dtype)


def _attended(x: torch.Tensor, matrix: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """x and, added to it, v times the matrix."""
    if can_blend(x):
        out = x.new_empty(x.shape)
        blend(out.flatten(1, 2), [(x.flatten(1, 2), None)], [(v.flatten(1, 2), matrix.transpose(1, 2))])
        return out
    return x + (v.flatten(1, 2) @ matrix.transpose(1, 2)).view(*v.shape[:3], -1)
