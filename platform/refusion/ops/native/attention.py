"""Attention among channels with its residual as compiled code: q, k and v row by row, then what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.autodiff import jvp
from refusion.ops.channel_attention import Sums, projected_attention
from refusion.ops.fused_op import FusedOp, Grads, Reference, Tensors
from refusion.ops.native.depthwise import SeparableConv
from refusion.ops.native.reductions import channel_dots, gram, weighted_sum


class Stream(NamedTuple):
    """Maps of one stream, (B, P, C) each, views: q of the stream before it, k and v its own."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor

    @staticmethod
    def all_of(qkv: Tensors) -> list[Stream]:
        """Streams in q, k and v side by side, (B, H, W, 3C), of each."""
        split = [maps.flatten(1, 2).chunk(3, dim=2) for maps in qkv]
        return [Stream(split[position - 1][0], *split[position][1:]) for position in range(len(qkv))]

    def sums(self) -> Sums:
        """Sums over the pixels that the stream's matrix is computed from."""
        return Sums(gram((self.q, self.k)), channel_dots(self.q, self.q), channel_dots(self.k, self.k))

    def sums_tangent(self, tangent: Stream) -> Sums:
        """Tangent of the sums for a tangent of the maps."""
        both = gram((self.q, tangent.k), (tangent.q, self.k))
        return Sums(both, 2 * channel_dots(self.q, tangent.q), 2 * channel_dots(self.k, tangent.k))


class StreamsAttention(NamedTuple):
    """Streams, and the factors of their matrices: sums, temperature (heads, 1, 1) and projection (C, C) of each.

    Attributes:
        small: five tensors of each stream.
    """

    streams: list[Stream]
    small: list[Tensors]

    @staticmethod
    def of(qkv: Tensors, parameters: Tensors) -> StreamsAttention:
        """Computes it from the streams' maps, and the temperatures of all, then the projections of all."""
        streams = Stream.all_of(qkv)
        return StreamsAttention(streams, _small([stream.sums() for stream in streams], parameters))

    def tangent(self, qkv: Tensors, parameters: Tensors) -> StreamsAttention:
        """Tangents of the streams and of the factors of their matrices, for tangents of maps and parameters."""
        streams = Stream.all_of(qkv)
        sums = [here.sums_tangent(there) for here, there in zip(self.streams, streams, strict=True)]
        return StreamsAttention(streams, _small(sums, parameters))

    def value(self, x: Tensors) -> torch.Tensor:
        """Each x (B, H, W, C) plus the attention of its stream, side by side."""
        out = _as_wide_as(x)
        for stream, small, residual, into in zip(self.streams, self.small, x, _split(out, len(x)), strict=True):
            weighted_sum(into, [(residual.flatten(1, 2), None)], [(stream.v, _matrix(*small).transpose(1, 2))])
        return out

    def jvp(self, tangent: StreamsAttention, x: Tensors, dx: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """``value(x)`` and its tangent."""
        out, out_tangent = _as_wide_as(x), _as_wide_as(x)
        count = len(x)
        for position, (here, there) in enumerate(zip(self.streams, tangent.streams, strict=True)):
            pair = jvp(_matrix, self.small[position], tangent.small[position])
            matrix, dmatrix = (one.transpose(1, 2) for one in pair)
            residual, dresidual = (maps[position].flatten(1, 2) for maps in (x, dx))
            weighted_sum(_split(out, count)[position], [(residual, None)], [(here.v, matrix)])
            weighted_sum(
                _split(out_tangent, count)[position], [(dresidual, None)], [(there.v, matrix), (here.v, dmatrix)]
            )
        return out, out_tangent

    def vjp(self, grad: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Gradients in the maps (B, H, W, 3C) and in the parameters, from that in the result."""
        grad_qkv, into = _empty_qkv(self.streams, grad)
        grad_parameters = []
        for stream, small, grad_maps, g in zip(
            self.streams, self.small, into, _split(grad, len(self.streams)), strict=True
        ):
            with torch.enable_grad():
                leaves = [tensor.detach().requires_grad_() for tensor in small]
                matrix = _matrix(*leaves)
                found = torch.autograd.grad(matrix, leaves, gram((g, stream.v)))
            weighted_sum(grad_maps.v, projected=[(g, matrix.detach())])
            _fill_vjp_of_sums(grad_maps, [(stream, Sums(*found[:3]))])
            grad_parameters.append(found[3:])
        return grad_qkv, _in_order(grad_parameters)

    def vjp_of_jvp(
        self, tangent: StreamsAttention, grad: torch.Tensor, grad_of_tangent: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """Gradients in the maps, in their tangents and in the parameters, from those in the result and its tangent."""
        count = len(self.streams)
        grad_qkv, into = _empty_qkv(self.streams, grad)
        grad_tangents, into_tangents = _empty_qkv(self.streams, grad)
        grad_parameters = []
        for position, (here, there) in enumerate(zip(self.streams, tangent.streams, strict=True)):
            g, dg = _split(grad, count)[position], _split(grad_of_tangent, count)[position]
            with torch.enable_grad():
                factors = *self.small[position], *tangent.small[position]
                leaves = [tensor.detach().requires_grad_() for tensor in factors]
                pair = jvp(_matrix, leaves[:5], leaves[5:])
                grad_pair = gram((g, here.v), (dg, there.v)), gram((dg, here.v))
                found = torch.autograd.grad(pair, leaves, grad_pair)
            matrix, dmatrix = (one.detach() for one in pair)
            in_sums, in_tangents = Sums(*found[:3]), Sums(*found[5:8])
            weighted_sum(into[position].v, projected=[(g, matrix), (dg, dmatrix)])
            weighted_sum(into_tangents[position].v, projected=[(dg, matrix)])
            # A sum's tangent is computed from the maps and from their tangents: it has gradients in both.
            _fill_vjp_of_sums(into[position], [(here, in_sums), (there, in_tangents)])
            _fill_vjp_of_sums(into_tangents[position], [(here, in_tangents)])
            grad_parameters.append(found[3:5])
        return grad_qkv, grad_tangents, _in_order(grad_parameters)


class NativeAttention(FusedOp[StreamsAttention]):
    """`sublayers.ChannelAttention` (one stream) or `CrossAttention` (two) of the same inputs, on whole images."""

    def __init__(self, streams: int, reference: Reference) -> None:
        self.maps = streams
        self._reference = reference

    def serves(self, inputs: Tensors) -> bool:
        return all(source.is_served() for source in self._sources(inputs))

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return self._reference(inputs, rows)

    def save(self, inputs: Tensors, rows: slice) -> StreamsAttention:
        return StreamsAttention.of([source.value() for source in self._sources(inputs)], self._small(inputs))

    def value(self, inputs: Tensors, rows: slice, saved: StreamsAttention) -> torch.Tensor:
        return saved.value(inputs[: self.maps])

    def vjp(
        self, inputs: Tensors, rows: slice, saved: StreamsAttention, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        grad_qkv, grad_small = saved.vjp(grad)
        in_sources = [
            source.vjp(of_one, any(needs_grad[self.maps :]))
            for source, of_one in zip(self._sources(inputs), grad_qkv, strict=True)
        ]
        return self._in_order(in_sources, grad, grad_small)

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        here, there = self._pair(inputs, tangents)
        return here.jvp(there, inputs[: self.maps], tangents[: self.maps])

    def vjp_of_jvp(
        self, inputs: Tensors, tangents: Tensors, rows: slice, grads: Tensors, needs_grad: Sequence[bool]
    ) -> Grads:
        here, there = self._pair(inputs, tangents)
        grad, grad_of_tangent = (one.contiguous() for one in grads)
        grad_qkv, grad_dqkv, grad_small = here.vjp_of_jvp(there, grad, grad_of_tangent)
        found = [
            source.vjp_of_jvp(tangent, in_qkv, in_dqkv, any(needs_grad[self.maps : len(inputs)]))
            for source, tangent, in_qkv, in_dqkv in zip(
                self._sources(inputs), self._sources(tangents), grad_qkv, grad_dqkv, strict=True
            )
        ]
        grad_dx = [in_tangent for _, in_tangent in found]
        for in_tangent, own in zip(grad_dx, grad_of_tangent.chunk(self.maps, dim=3), strict=True):
            in_tangent.add_(own)
        in_inputs = self._in_order([in_source for in_source, _ in found], grad, grad_small)
        return [*in_inputs, *grad_dx, *[None] * (len(inputs) - self.maps)]

    def _sources(self, inputs: Tensors) -> list[SeparableConv]:
        """Convolutions that give q, k and v of each stream."""
        if self.maps == 1:
            return [SeparableConv.plain(inputs[:5])]
        x1, x2, pointwise1, depthwise1, pointwise2, depthwise2, *_ = inputs
        return [SeparableConv.plain([x1, pointwise1, depthwise1]), SeparableConv.plain([x2, pointwise2, depthwise2])]

    def _small(self, inputs: Tensors) -> Tensors:
        """Temperatures, then projections."""
        return inputs[-2 * self.maps :]

    def _pair(self, inputs: Tensors, tangents: Tensors) -> tuple[StreamsAttention, StreamsAttention]:
        """Attention of the inputs, and its tangent."""
        sources = zip(self._sources(inputs), self._sources(tangents), strict=True)
        qkv, dqkv = zip(*(source.jvp(tangent) for source, tangent in sources), strict=True)
        here = StreamsAttention.of(qkv, self._small(inputs))
        return here, here.tangent(dqkv, self._small(tangents))

    def _in_order(self, in_sources: Sequence[Grads], grad: torch.Tensor, grad_small: Tensors) -> Grads:
        """Gradients in the order of the inputs; those in the maps with the residual's."""
        grad_x = []
        for (in_maps, *_), own in zip(in_sources, grad.chunk(self.maps, dim=3), strict=True):
            assert in_maps is not None
            grad_x.append(in_maps.add_(own))
        return [*grad_x, *(of_one for in_source in in_sources for of_one in in_source[1:]), *grad_small]


def _matrix(*small: torch.Tensor) -> torch.Tensor:
    return projected_attention(Sums(*small[:3]), small[3], small[4])


def _small(sums: Sequence[Sums], parameters: Tensors) -> list[Tensors]:
    count = len(sums)
    return [(*of_one, parameters[stream], parameters[count + stream]) for stream, of_one in enumerate(sums)]


def _in_order(grad_parameters: Sequence[Tensors]) -> list[torch.Tensor]:
    """Gradients in temperature and projection of each stream, in the order in which parameters are given."""
    return [of_one[position] for position in range(2) for of_one in grad_parameters]


def _fill_vjp_of_sums(into: Stream, terms: Sequence[tuple[Stream, Sums]]) -> None:
    """Fills q and k with their gradients, from those in sums over their products with the streams."""
    weighted_sum(
        into.q,
        [(stream.q, 2 * grads.q_squares) for stream, grads in terms],
        [(stream.k, grads.gram.transpose(1, 2)) for stream, grads in terms],
    )
    weighted_sum(
        into.k,
        [(stream.k, 2 * grads.k_squares) for stream, grads in terms],
        [(stream.q, grads.gram) for stream, grads in terms],
    )


def _as_wide_as(x: Tensors) -> torch.Tensor:
    return x[0].new_empty((*x[0].shape[:3], sum(maps.shape[3] for maps in x)))


def _split(maps: torch.Tensor, count: int) -> list[torch.Tensor]:
    """Views of (B, H, W, count · C) as (B, P, C) of each stream."""
    return list(maps.flatten(1, 2).chunk(count, dim=2))


def _empty_qkv(streams: Sequence[Stream], like: torch.Tensor) -> tuple[list[torch.Tensor], list[Stream]]:
    """Maps (B, H, W, 3C) to be filled, and the streams that lie in them."""
    maps = [like.new_empty((*like.shape[:3], 3 * stream.v.shape[2])) for stream in streams]
    return maps, Stream.all_of(maps)
