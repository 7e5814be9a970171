"""The fusion module layer by layer in one tile: its share of the sums that attention needs, and its result.

A tile's outermost pixels lack neighbours where it was cut out of a picture: each 3×3 convolution makes the results of
one more ring wrong there. Tiles are taken so much larger, and whoever uses a result leaves these rings out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

import refusion.ops as ops
from refusion.networks.blocks import Block, ChannelNorm
from refusion.networks.fusion import CrossAttentionFusion, FusionModule
from refusion.ops.channel_attention import Sums, projected_attention
from refusion.ops.native.depthwise import SeparableConv
from refusion.ops.native.reductions import channel_dots, gram, serves, weighted_sum

Streams = Sequence[torch.Tensor]
Crop = Callable[[torch.Tensor], torch.Tensor]
"""Returns a tile's own part of what was computed of more."""

RINGS_OF_PROJECT_OUT = 2


class Layer(ABC):
    """A layer with attention over the whole picture: it gathers sums tile by tile, then is computed tile by tile.

    Its input is streams of maps (1, H, W, C), channels last: two in the encoders, one in the decoder.

    Attributes:
        streams: how many.
        rings_of_sums, rings: rings of pixels that `gather` and `value` make wrong at a cut.
    """

    rings_of_sums, rings = 1, 2

    def __init__(self, like: torch.Tensor, channels: int, streams: int) -> None:
        self.streams = streams
        self._sums = [_no_sums(like, channels) for _ in range(streams)]

    @abstractmethod
    def gather(self, streams: Streams, inner: Crop) -> None:
        """Adds a tile's sums; ``inner`` leaves out what other tiles add, or what is wrong."""

    @abstractmethod
    def conclude(self) -> None:
        """Makes attention of the sums, when all tiles have been gathered."""

    @abstractmethod
    def value(self, streams: Streams) -> list[torch.Tensor]:
        """Returns the result of a tile, once it has been concluded."""


class BlockPerStream(Layer):
    """One block for each stream."""

    def __init__(self, blocks: Sequence[Block], like: torch.Tensor) -> None:
        super().__init__(like, blocks[0].attn.qkv.in_channels, len(blocks))
        self._blocks = blocks
        self._matrices: list[torch.Tensor] = []

    def gather(self, streams: Streams, inner: Crop) -> None:
        for x, block, sums in zip(streams, self._blocks, self._sums, strict=True):
            _add(sums, *_q_and_k(x, block.norm1, block.attn.qkv, block.attn.qkv_dwconv, inner))

    def conclude(self) -> None:
        self._matrices = [
            _matrix(sums, block.attn.temperature, block.attn.project_out)
            for sums, block in zip(self._sums, self._blocks, strict=True)
        ]

    def value(self, streams: Streams) -> list[torch.Tensor]:
        found = []
        for x, block, matrix in zip(streams, self._blocks, self._matrices, strict=True):
            v = _v(x, block.norm1, block.attn.qkv, block.attn.qkv_dwconv)
            ffn = block.ffn
            weights = (ffn.project_in.weight, ffn.dwconv.weight, ffn.project_out.weight)
            found.append(_feed_forward(_with_attention(x, matrix, v), block.norm2.affine, *weights))
        return found


class CrossFusion(Layer):
    """The layer that makes one stream of two."""

    def __init__(self, fm: CrossAttentionFusion, like: torch.Tensor) -> None:
        super().__init__(like, fm.qkv1.in_channels, 2)
        self._fm = fm
        self._weights = fm.joint_feed_forward()
        self._matrices: list[torch.Tensor] = []

    def gather(self, streams: Streams, inner: Crop) -> None:
        fm = self._fm
        q1, k1 = _q_and_k(streams[0], None, fm.qkv1, fm.qkv1_dwconv, inner)
        q2, k2 = _q_and_k(streams[1], None, fm.qkv2, fm.qkv2_dwconv, inner)
        _add(self._sums[0], q2, k1)
        _add(self._sums[1], q1, k2)

    def conclude(self) -> None:
        fm = self._fm
        self._matrices = [
            _matrix(self._sums[0], fm.temperature1, fm.project_mid1),
            _matrix(self._sums[1], fm.temperature2, fm.project_mid2),
        ]

    def value(self, streams: Streams) -> list[torch.Tensor]:
        fm = self._fm
        v1 = _v(streams[0], None, fm.qkv1, fm.qkv1_dwconv)
        v2 = _v(streams[1], None, fm.qkv2, fm.qkv2_dwconv)
        y = [_with_attention(*each) for each in zip(streams, self._matrices, (v1, v2), strict=True)]
        return [_feed_forward(torch.cat(y, dim=3), (), *self._weights)]


def project_in(module: FusionModule, sources: torch.Tensor) -> list[torch.Tensor]:
    """Returns the first maps of both streams, of sources (1, 2, H, W); one ring is wrong at a cut."""
    a, b = ops.to_channels_last(sources).chunk(2, dim=3)
    return [ops.conv3x3(a, module.project_in_1.weight), ops.conv3x3(b, module.project_in_2.weight)]


def project_out(module: FusionModule, x: torch.Tensor) -> torch.Tensor:
    """Returns what the last convolutions find of (1, H, W, C), channels last; two rings are wrong at a cut."""
    x = F.leaky_relu(ops.conv3x3(x, module.project_out_0.weight), 0.01, inplace=True)
    return ops.conv3x3(x, module.project_out_1.weight)


def _q_and_k(
    x: torch.Tensor, norm: ChannelNorm | None, pointwise: nn.Conv2d, depthwise: nn.Conv2d, inner: Crop
) -> tuple[torch.Tensor, ...]:
    first = slice(None, 2 * pointwise.in_channels)
    return (
        inner(_separable_conv(x, norm, pointwise.weight[first], depthwise.weight[first])).contiguous().chunk(2, dim=3)
    )


def _v(x: torch.Tensor, norm: ChannelNorm | None, pointwise: nn.Conv2d, depthwise: nn.Conv2d) -> torch.Tensor:
    last = slice(2 * pointwise.in_channels, None)
    return _separable_conv(x, norm, pointwise.weight[last], depthwise.weight[last])


def _separable_conv(
    x: torch.Tensor, norm: ChannelNorm | None, pointwise: torch.Tensor, depthwise: torch.Tensor
) -> torch.Tensor:
    """Norm, if any, pointwise and depthwise convolution."""
    affine = () if norm is None else norm.affine
    native = SeparableConv.plain([x, *affine, pointwise, depthwise])
    if native.is_served():
        return native.value()
    return ops.depthwise_conv(ops.pointwise_conv(x if norm is None else norm(x), pointwise), depthwise)


def _feed_forward(
    x: torch.Tensor,
    affine: Sequence[torch.Tensor],
    pointwise: torch.Tensor,
    depthwise: torch.Tensor,
    projection: torch.Tensor,
) -> torch.Tensor:
    """Gated feed-forward network, with a norm if there is one, and its residual."""
    native = SeparableConv.gated([x, *affine, pointwise, depthwise, projection])
    if native.is_served():
        return native.value()
    source = ops.layer_norm(x, *affine) if affine else x
    gate, value = ops.depthwise_conv(ops.pointwise_conv(source, pointwise), depthwise).chunk(2, dim=3)
    return x + ops.pointwise_conv(F.gelu(gate).mul_(value), projection)


def _no_sums(like: torch.Tensor, channels: int) -> Sums:
    """Zeros, to which tiles are added; in double precision, since a large picture has many tiles."""
    squares = torch.zeros(2, 1, channels, dtype=torch.float64, device=like.device)
    return Sums(squares.new_zeros(1, channels, channels), *squares)


def _add(sums: Sums, q: torch.Tensor, k: torch.Tensor) -> None:
    """Adds one more tile, channels last."""
    flat_q, flat_k = q.flatten(1, 2), k.flatten(1, 2)
    if serves(q):
        sums.gram.add_(gram((flat_q, flat_k)))
        sums.q_squares.add_(channel_dots(flat_q, flat_q))
        sums.k_squares.add_(channel_dots(flat_k, flat_k))
        return
    sums.gram.add_(flat_q.transpose(1, 2) @ flat_k)
    sums.q_squares.add_(flat_q.square().sum(dim=1))
    sums.k_squares.add_(flat_k.square().sum(dim=1))


def _matrix(sums: Sums, temperature: torch.Tensor, project: nn.Conv2d) -> torch.Tensor:
    """Matrix by which v is multiplied, (1, outputs, C)."""
    found = projected_attention(sums, temperature.double(), project.weight.flatten(1).double())
    return found.to(project.weight.dtype)


def _with_attention(x: torch.Tensor, matrix: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """x and, added to it, v times the matrix."""
    if serves(x):
        out = x.new_empty(x.shape)
        weighted_sum(out.flatten(1, 2), [(x.flatten(1, 2), None)], [(v.flatten(1, 2), matrix.transpose(1, 2))])
        return out
    return x + (v.flatten(1, 2) @ matrix.transpose(1, 2)).view(*v.shape[:3], -1)
