"""Attention among channels from q, k and v side by side in one tensor, without normalised copies or a split.

Each channel of q and k counts with unit length along the pixels. That is a matter of their products and squared
lengths, which are small matrices: q and k themselves are read once. All large results are matrix products that are
written where they belong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from refusion.ops.autodiff import differentiable_vjp, jvp

# Of F.normalize in the published network.
_LEAST_LENGTH = 1e-12
_PIXELS_AT_ONCE = 1 << 14


def attend_among(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """projection · softmax(q kᵀ · temperature) · v, head by head, for one stream or for several.

    With one stream q is its own; of several, each takes q from the stream before it (so two take each other's).
    Differentiable twice: backward and backward, or forward and backward.

    Args:
        inputs: of each stream q, k and v side by side, (B, H, W, 3C), channels last; then of each the temperature
            (heads, 1, 1), where the heads split C; then of each the projection (outputs, C).

    Returns:
        Of each stream (B, H, W, outputs).
    """
    out: tuple[torch.Tensor, ...] = _Attention.apply(*inputs)
    return out


class Attended(NamedTuple):
    """The same with what its slopes need; no graph leads through it.

    Attributes:
        small: what the streams' matrices are made of; None in large images, whose matrices are made as published.
    """

    inputs: tuple[torch.Tensor, ...]
    small: list[tuple[torch.Tensor, ...]] | None

    @staticmethod
    def of(*inputs: torch.Tensor) -> Attended:
        """`attend_among` of the same arguments."""
        return Attended(inputs, None if _is_large(inputs[0]) else [stream.small() for stream in _streams(inputs)])

    def results(self) -> list[torch.Tensor]:
        """Of each stream (B, H, W, outputs)."""
        streams = _streams(self.inputs)
        if self.small is None:
            return [stream.mixed(stream.matrix_as_published()) for stream in streams]
        return [stream.mixed(_matrix_of(*small)) for stream, small in zip(streams, self.small, strict=True)]

    def backward(self, slopes: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The slopes in the inputs from those in the results."""
        filled = [torch.empty_like(tensor) for tensor in self.inputs[: len(slopes)]]
        of_temperatures, of_projections = [], []
        for position, (here, slope) in enumerate(zip(_streams(self.inputs), slopes, strict=True)):
            flat = slope.flatten(1, 2)
            with torch.enable_grad():
                held = here.small() if self.small is None else self.small[position]
                small = [tensor.detach().requires_grad_() for tensor in held]
                matrix = _matrix_of(*small)
                of_small = torch.autograd.grad(matrix, small, flat.transpose(1, 2) @ here.v)
            of_q, of_k, of_v = _Stream.maps(filled, position)
            torch.bmm(flat, matrix.detach(), out=of_v)
            _pull_back(of_q, of_k, here.q, here.k, Sums(*of_small[:3]))
            of_temperatures.append(of_small[3])
            of_projections.append(of_small[4])
        return *filled, *of_temperatures, *of_projections


def attention_change(
    inputs: Sequence[torch.Tensor], changes: Sequence[torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`attend_among`'s results and their changes for changes of all its inputs, stream by stream."""
    found = []
    for here, there in zip(_streams(inputs), _streams(changes), strict=True):
        matrix, change = jvp(_matrix_of, here.small(), there.small_change(here))
        across = matrix.transpose(1, 2)
        moved = (there.v @ across).baddbmm_(here.v, change.transpose(1, 2))
        found.append((here.mixed(matrix), here.shaped(moved)))
    return found


def attention_of(cosines: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Heads' cosines between channels of q and of k, (B, heads, C/heads, C/heads), to the attention (B, C, C)."""
    scaled = cosines * temperature
    # Not `softmax`: a backward pass through its forward-mode derivative fails in PyTorch 2.13.
    raised = (scaled - scaled.amax(dim=3, keepdim=True)).exp()
    attention = raised / raised.sum(dim=3, keepdim=True)
    diagonal = torch.eye(temperature.shape[0], dtype=attention.dtype, device=attention.device)
    return (attention[:, :, :, None] * diagonal[:, None, :, None]).flatten(3, 4).flatten(1, 2)


class Sums(NamedTuple):
    """What attention needs of q and k: products (B, C, C), and squared lengths (B, C) of q's and k's channels."""

    products: torch.Tensor
    of_q: torch.Tensor
    of_k: torch.Tensor


def mixing_matrix(sums: Sums, temperature: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
    """projection · attention, (B, outputs, C): what v is multiplied by."""
    batch, channels, _ = sums.products.shape
    heads = temperature.shape[0]
    each = channels // heads
    blocks = sums.products.view(batch, heads, each, heads, each).diagonal(dim1=1, dim2=3).movedim(-1, 1)
    # Clamped before the root, whose slope at zero is infinite.
    q, k = (squares.clamp_min(_LEAST_LENGTH**2).sqrt().view(batch, heads, each) for squares in (sums.of_q, sums.of_k))
    cosines = blocks / (q[..., None] * k[..., None, :])
    return projection @ attention_of(cosines, temperature)


def _flat(qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, H, W, 3C) as q, k and v, (B, HW, C) each: views."""
    q, k, v = qkv.flatten(1, 2).chunk(3, dim=2)
    return q, k, v


def _over_pixels(x: torch.Tensor, width: int) -> torch.Tensor:
    """(B, HW, C) summed to (B, C), row by row: added one by one, half a million float32 would be off by 1e-5."""
    total: torch.Tensor = x.unflatten(1, (-1, width)).sum(dim=2).sum(dim=1)
    return total


def _product(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """qᵀk, (B, C, C); in large images over some pixels at a time, for the same reason."""
    parts = zip(q.split(_PIXELS_AT_ONCE, dim=1), k.split(_PIXELS_AT_ONCE, dim=1), strict=True)
    return torch.stack([some_q.transpose(1, 2) @ some_k for some_q, some_k in parts]).sum(dim=0)


def _plainly(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """`attend_among` without derivatives of its own."""
    return tuple(stream.mixed(_matrix_of(*stream.small())) for stream in _streams(inputs))


def _is_large(qkv: torch.Tensor) -> bool:
    return qkv.shape[1] * qkv.shape[2] > _PIXELS_AT_ONCE


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(Attended.of(*inputs).results())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if torch.is_grad_enabled():
            return differentiable_vjp(_plainly, ctx.saved_tensors, slopes)
        return Attended(ctx.saved_tensors, None).backward(slopes)

    @staticmethod
    def jvp(ctx: Any, *changes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out: tuple[torch.Tensor, ...] = _AttentionChange.apply(*ctx.saved_tensors, *changes)
        return out


def _pull_back(of_q: torch.Tensor, of_k: torch.Tensor, q: torch.Tensor, k: torch.Tensor, slopes: Sums) -> None:
    """Fill the slopes in q and k from those in their sums."""
    torch.mul(q, 2 * slopes.of_q[:, None], out=of_q)
    torch.mul(k, 2 * slopes.of_k[:, None], out=of_k)
    of_q.baddbmm_(k, slopes.products.transpose(1, 2))
    of_k.baddbmm_(q, slopes.products)


class _AttentionChange(torch.autograd.Function):
    """The change of the streams' outputs for a change of all inputs: twice as many arguments, the changes last."""

    @staticmethod
    def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        half = len(inputs) // 2
        return tuple(change for _, change in attention_change(inputs[:half], inputs[half:]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs = ctx.saved_tensors
        half = len(inputs) // 2
        count = half // 3
        filled = [torch.empty_like(tensor) for tensor in inputs[:count]]
        moved = [torch.empty_like(tensor) for tensor in inputs[:count]]
        small: list[list[torch.Tensor]] = [[], [], [], []]
        for stream, slope in enumerate(slopes):
            here = _Stream.of(inputs[:half], stream)
            there = _Stream.of(inputs[half:], stream)
            flat = slope.flatten(1, 2)
            across = flat.transpose(1, 2)
            with torch.enable_grad():
                base = [tensor.detach().requires_grad_() for tensor in here.small()]
                change = [tensor.detach().requires_grad_() for tensor in there.small_change(here)]
                matrices = jvp(_matrix_of, base, change)
                found = torch.autograd.grad(matrices, base + change, (across @ there.v, across @ here.v))
            of_here, of_there = _Stream.maps(filled, stream), _Stream.maps(moved, stream)
            matrix, changed = (tensor.detach() for tensor in matrices)
            torch.bmm(flat, changed, out=of_here[2])
            torch.bmm(flat, matrix, out=of_there[2])
            of_sums, of_change = Sums(*found[:3]), Sums(*found[5:8])
            _pull_back(of_here[0], of_here[1], here.q, here.k, of_sums)
            # Products and lengths change by the product of the maps and their changes: slopes in both.
            of_here[0].baddbmm_(there.k, of_change.products.transpose(1, 2)).addcmul_(
                there.q, 2 * of_change.of_q[:, None]
            )
            of_here[1].baddbmm_(there.q, of_change.products).addcmul_(there.k, 2 * of_change.of_k[:, None])
            _pull_back(of_there[0], of_there[1], here.q, here.k, of_change)
            for place, tensor in zip(small, (found[3], found[4], found[8], found[9]), strict=True):
                place.append(tensor)
        return *filled, *small[0], *small[1], *moved, *small[2], *small[3]


class _Stream(NamedTuple):
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    temperature: torch.Tensor
    projection: torch.Tensor
    width: int

    @staticmethod
    def of(inputs: Sequence[torch.Tensor], stream: int) -> _Stream:
        """One stream's maps and parameters among `attend_among`'s inputs, laid end to end."""
        count = len(inputs) // 3
        small = inputs[count + stream], inputs[2 * count + stream]
        return _Stream(*_Stream.maps(inputs[:count], stream), *small, inputs[stream].shape[2])

    @staticmethod
    def maps(qkv: Sequence[torch.Tensor], stream: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q of the stream before, k and v of this one, (B, HW, C) each."""
        return _flat(qkv[stream - 1])[0], *_flat(qkv[stream])[1:]

    def mixed(self, matrix: torch.Tensor) -> torch.Tensor:
        """v times the matrix (B, outputs, C): (B, H, W, outputs)."""
        return self.shaped(self.v @ matrix.transpose(1, 2))

    def shaped(self, flat: torch.Tensor) -> torch.Tensor:
        """(B, HW, C) as (B, H, W, C)."""
        found: torch.Tensor = flat.unflatten(1, (-1, self.width))
        return found

    def small(self) -> tuple[torch.Tensor, ...]:
        """What the stream's matrix is made of: the sums of q and k, temperature and projection."""
        lengths = _over_pixels(self.q.square(), self.width), _over_pixels(self.k.square(), self.width)
        return _product(self.q, self.k), *lengths, self.temperature, self.projection

    def matrix_as_published(self) -> torch.Tensor:
        """The matrix by way of normalised copies of q and k.

        The published network's own rounding shows in large images, by up to 4e-5 in its results: so it is the same.
        """
        heads = self.temperature.shape[0]
        q, k = (F.normalize(maps.transpose(1, 2).contiguous(), dim=2, eps=_LEAST_LENGTH) for maps in (self.q, self.k))
        q, k = (maps.unflatten(1, (heads, -1)) for maps in (q, k))
        return self.projection @ attention_of(q @ k.transpose(2, 3), self.temperature)

    def small_change(self, here: _Stream) -> tuple[torch.Tensor, ...]:
        """The change of ``here.small()``, this being the change of that stream."""
        products = (here.q.transpose(1, 2) @ self.k).baddbmm_(self.q.transpose(1, 2), here.k)
        lengths = (2 * _over_pixels(a * b, self.width) for a, b in ((here.q, self.q), (here.k, self.k)))
        return products, *lengths, self.temperature, self.projection


def _streams(inputs: Sequence[torch.Tensor]) -> list[_Stream]:
    return [_Stream.of(inputs, stream) for stream in range(len(inputs) // 3)]


def _matrix_of(*small: torch.Tensor) -> torch.Tensor:
    return mixing_matrix(Sums(*small[:3]), small[3], small[4])
