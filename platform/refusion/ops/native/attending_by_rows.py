"""Attention among channels, as `attending` defines it, with its residual and both in forward mode, by compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from refusion.ops.autodiff import jvp
from refusion.ops.channel_attention import Sums, mixing_matrix
from refusion.ops.native.reductions import blend, dots, products
from refusion.ops.parts_by_rows import Tensors


class Stream(NamedTuple):
    """Maps of one stream, (B, P, C) each, views: q of the stream before it, k and v its own."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor

    @staticmethod
    def all_of(qkv: Tensors) -> list[Stream]:
        """From q, k and v side by side, (B, H, W, 3C), of each stream."""
        split = [maps.flatten(1, 2).chunk(3, dim=2) for maps in qkv]
        return [Stream(split[position - 1][0], *split[position][1:]) for position in range(len(qkv))]

    def sums(self) -> Sums:
        """What the stream's matrix is made of."""
        return Sums(products((self.q, self.k)), dots(self.q, self.q), dots(self.k, self.k))

    def change_of_sums(self, change: Stream) -> Sums:
        """For a change of the maps."""
        both = products((self.q, change.k), (change.q, self.k))
        return Sums(both, 2 * dots(self.q, change.q), 2 * dots(self.k, change.k))


class Attending(NamedTuple):
    """Streams, and what their matrices are made of: sums, temperature (heads, 1, 1) and projection (C, C) of each.

    Attributes:
        small: five tensors of each stream.
    """

    streams: list[Stream]
    small: list[Tensors]

    @staticmethod
    def of(qkv: Tensors, parameters: Tensors) -> Attending:
        """From the streams' maps, and the temperatures of all, then the projections of all."""
        streams = Stream.all_of(qkv)
        return Attending(streams, _small([stream.sums() for stream in streams], parameters))

    def result(self, x: Tensors) -> torch.Tensor:
        """Each x (B, H, W, C) and what its stream adds to it, side by side."""
        out = _as_wide_as(x)
        for stream, small, residual, into in zip(self.streams, self.small, x, _parts(out, len(x)), strict=True):
            blend(into, [(residual.flatten(1, 2), None)], [(stream.v, _matrix(*small).transpose(1, 2))])
        return out

    def slopes(self, slope: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """In the maps (B, H, W, 3C) and in the parameters, from that in the result."""
        filled, into = _places(self.streams, slope)
        of_parameters = []
        for stream, small, of_maps, g in zip(
            self.streams, self.small, into, _parts(slope, len(self.streams)), strict=True
        ):
            with torch.enable_grad():
                held = [tensor.detach().requires_grad_() for tensor in small]
                matrix = _matrix(*held)
                found = torch.autograd.grad(matrix, held, products((g, stream.v)))
            of_sums = Sums(*found[:3])
            blend(of_maps.v, mixed=[(g, matrix.detach())])
            _pull_back(of_maps, [(stream, of_sums)])
            of_parameters.append(found[3:])
        return filled, _in_order(of_parameters)

    def slopes_through_change(
        self, change: Attending, slope: torch.Tensor, slope_of_change: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """In the maps, in their changes and in the parameters, from those in the result and in its change."""
        count = len(self.streams)
        filled, into = _places(self.streams, slope)
        filled_too, into_too = _places(self.streams, slope)
        of_parameters = []
        for position, (here, there) in enumerate(zip(self.streams, change.streams, strict=True)):
            g, dg = _parts(slope, count)[position], _parts(slope_of_change, count)[position]
            with torch.enable_grad():
                held = [tensor.detach().requires_grad_() for tensor in (*self.small[position], *change.small[position])]
                pair = jvp(_matrix, held[:5], held[5:])
                of_pair = products((g, here.v), (dg, there.v)), products((dg, here.v))
                found = torch.autograd.grad(pair, held, of_pair)
            matrix, moved = (one.detach() for one in pair)
            of_sums, of_change = Sums(*found[:3]), Sums(*found[5:8])
            blend(into[position].v, mixed=[(g, matrix), (dg, moved)])
            blend(into_too[position].v, mixed=[(dg, matrix)])
            # A sum's change is made of the maps and their changes: it has slopes in both.
            _pull_back(into[position], [(here, of_sums), (there, of_change)])
            _pull_back(into_too[position], [(here, of_change)])
            of_parameters.append(found[3:5])
        return filled, filled_too, _in_order(of_parameters)


def change_of(attending: Attending, qkv: Tensors, parameters: Tensors) -> Attending:
    """The changes of the maps' streams and of what their matrices are made of, for changes of maps and parameters."""
    streams = Stream.all_of(qkv)
    sums = [here.change_of_sums(there) for here, there in zip(attending.streams, streams, strict=True)]
    return Attending(streams, _small(sums, parameters))


def result_and_change(
    attending: Attending, change: Attending, x: Tensors, dx: Tensors
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attending.result(x)`, and its change."""
    out, moved = _as_wide_as(x), _as_wide_as(x)
    count = len(x)
    for position, (here, there) in enumerate(zip(attending.streams, change.streams, strict=True)):
        pair = jvp(_matrix, attending.small[position], change.small[position])
        matrix, dmatrix = (one.transpose(1, 2) for one in pair)
        residual, dresidual = (maps[position].flatten(1, 2) for maps in (x, dx))
        blend(_parts(out, count)[position], [(residual, None)], [(here.v, matrix)])
        blend(_parts(moved, count)[position], [(dresidual, None)], [(there.v, matrix), (here.v, dmatrix)])
    return out, moved


def _matrix(*small: torch.Tensor) -> torch.Tensor:
    return mixing_matrix(Sums(*small[:3]), small[3], small[4])


def _small(sums: Sequence[Sums], parameters: Tensors) -> list[Tensors]:
    count = len(sums)
    return [(*of_one, parameters[stream], parameters[count + stream]) for stream, of_one in enumerate(sums)]


def _in_order(of_parameters: Sequence[Tensors]) -> list[torch.Tensor]:
    """The slopes in temperature and projection, stream by stream, as parameters are given."""
    return [of_one[position] for position in range(2) for of_one in of_parameters]


def _pull_back(into: Stream, from_sums: Sequence[tuple[Stream, Sums]]) -> None:
    """Fill q and k with the slopes that they have by way of sums that are made of them and of these streams."""
    blend(
        into.q,
        [(stream.q, 2 * slopes.of_q) for stream, slopes in from_sums],
        [(stream.k, slopes.products.transpose(1, 2)) for stream, slopes in from_sums],
    )
    blend(
        into.k,
        [(stream.k, 2 * slopes.of_k) for stream, slopes in from_sums],
        [(stream.q, slopes.products) for stream, slopes in from_sums],
    )


def _as_wide_as(x: Tensors) -> torch.Tensor:
    return x[0].new_empty((*x[0].shape[:3], sum(maps.shape[3] for maps in x)))


def _parts(maps: torch.Tensor, count: int) -> list[torch.Tensor]:
    """(B, H, W, count · C) as (B, P, C) of each stream: views."""
    return list(maps.flatten(1, 2).chunk(count, dim=2))


def _places(streams: Sequence[Stream], like: torch.Tensor) -> tuple[list[torch.Tensor], list[Stream]]:
    """Maps (B, H, W, 3C) to be filled, and the streams that lie in them."""
    maps = [like.new_empty((*like.shape[:3], 3 * stream.v.shape[2])) for stream in streams]
    return maps, Stream.all_of(maps)
