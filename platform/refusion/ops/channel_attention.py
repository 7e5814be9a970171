"""Attention among channels from q, k and v side by side in one tensor, without normalised copies or a split.

Each channel of q and k counts with unit length along the pixels, a matter of their Gram matrix and of squared lengths,
which are small: q and k themselves are read once. All large results are matrix products, written where they belong.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from refusion.ops.autodiff import differentiable_vjp, in_forward_mode, jvp
from refusion.ops.backend import fuses_on_gpu, runs_on_gpu
from refusion.ops.pixel_sums import PIXELS_AT_ONCE, gram, over_pixels, product_over_pixels

# Of F.normalize in the published network.
_LEAST_LENGTH = 1e-12


def qkv_attention(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Projected attention, projection · softmax(q kᵀ · temperature) · v, head by head, for one stream or for several.

    With one stream q is its own; of several, each takes q from the stream before it (so two take each other's).
    Differentiable to second order: backward and backward, or forward and backward.

    Args:
        inputs: q, k and v side by side, (B, H, W, 3C), channels last, for each stream; then each stream's temperature
            (heads, 1, 1), where the heads split C; then each stream's projection (outputs, C).

    Returns:
        (B, H, W, outputs) for each stream.
    """
    out: tuple[torch.Tensor, ...] = _Attention.apply(*inputs)
    return out


class SavedAttention(NamedTuple):
    """`qkv_attention` with all that its vjp needs; no graph leads through it.

    Attributes:
        small: factors of the streams' matrices; None in large images, whose matrices are computed as published.
    """

    inputs: tuple[torch.Tensor, ...]
    small: list[tuple[torch.Tensor, ...]] | None

    @staticmethod
    def of(*inputs: torch.Tensor) -> SavedAttention:
        """Computes it for the arguments of `qkv_attention`."""
        return SavedAttention(inputs, None if _is_large(inputs[0]) else [stream.small() for stream in _streams(inputs)])

    def values(self, residuals: Sequence[torch.Tensor | None] = ()) -> list[torch.Tensor]:
        """Results, (B, H, W, outputs) for each stream, each plus its residual of that shape where there are any."""
        streams = _streams(self.inputs)
        published = [one.matrix_as_published() for one in streams] if self.small is None else []
        matrices = published or [_projected(*small) for small in self.small or []]
        added = residuals or [None] * len(streams)
        return [one.projected(matrix, plus) for one, matrix, plus in zip(streams, matrices, added, strict=True)]

    def vjp(self, grads: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Gradients in the inputs from those in the results."""
        grad_qkv = [torch.empty_like(tensor) for tensor in self.inputs[: len(grads)]]
        grad_temperatures, grad_projections = [], []
        for position, (here, grad) in enumerate(zip(_streams(self.inputs), grads, strict=True)):
            flat = grad.flatten(1, 2)
            with torch.enable_grad():
                factors = here.small() if self.small is None else self.small[position]
                small = [tensor.detach().requires_grad_() for tensor in factors]
                matrix = _projected(*small)
                grad_small = torch.autograd.grad(matrix, small, product_over_pixels(flat, here.v))
            grad_q, grad_k, grad_v = _Stream.maps(grad_qkv, position)
            torch.bmm(flat, matrix.detach(), out=grad_v)
            _fill_vjp_of_sums(grad_q, grad_k, here.q, here.k, Sums(*grad_small[:3]))
            grad_temperatures.append(grad_small[3])
            grad_projections.append(grad_small[4])
        return *grad_qkv, *grad_temperatures, *grad_projections


def qkv_attention_jvp(
    inputs: Sequence[torch.Tensor], tangents: Sequence[torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Results of `qkv_attention` and their tangents, stream by stream, for tangents of all its inputs."""
    found = []
    for here, there in zip(_streams(inputs), _streams(tangents), strict=True):
        matrix, tangent = jvp(_projected, here.small(), there.small_tangent(here))
        across = matrix.transpose(1, 2)
        out_tangent = (there.v @ across).baddbmm_(here.v, tangent.transpose(1, 2))
        found.append((here.projected(matrix), here.shaped(out_tangent)))
    return found


def attention_matrix(cosines: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Attention (B, C, C) from the heads' cosines between channels of q and of k, (B, heads, C/heads, C/heads)."""
    scaled = cosines * temperature
    # Not `softmax`: a backward pass through its forward-mode derivative fails in PyTorch 2.13.
    raised = (scaled - scaled.amax(dim=3, keepdim=True)).exp()
    attention = raised / raised.sum(dim=3, keepdim=True)
    diagonal = torch.eye(temperature.shape[0], dtype=attention.dtype, device=attention.device)
    return (attention[:, :, :, None] * diagonal[:, None, :, None]).flatten(3, 4).flatten(1, 2)


class Sums(NamedTuple):
    """Sums over the pixels of q and k: Gram matrix qᵀk (B, C, C), and squared lengths (B, C) of their channels."""

    gram: torch.Tensor
    q_squares: torch.Tensor
    k_squares: torch.Tensor


def projected_attention(sums: Sums, temperature: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
    """Matrix projection · attention, (B, outputs, C), by which v is multiplied."""
    batch, channels, _ = sums.gram.shape
    heads = temperature.shape[0]
    each = channels // heads
    blocks = sums.gram.view(batch, heads, each, heads, each).diagonal(dim1=1, dim2=3).movedim(-1, 1)
    # Clamped before the root, whose derivative at zero is infinite.
    squares = sums.q_squares, sums.k_squares
    q, k = (one.clamp_min(_LEAST_LENGTH**2).sqrt().view(batch, heads, each) for one in squares)
    cosines = blocks / (q[..., None] * k[..., None, :])
    if runs_on_gpu(cosines) and not in_forward_mode():  # fewer kernels, each of them tiny
        attention = (cosines * temperature).softmax(dim=3)
        by_head: torch.Tensor = projection.unflatten(1, (heads, each)).transpose(0, 1) @ attention
        return by_head.transpose(1, 2).flatten(2)
    return projection @ attention_matrix(cosines, temperature)


def _flat(qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of (B, H, W, 3C) as q, k and v, (B, HW, C) each."""
    q, k, v = qkv.flatten(1, 2).chunk(3, dim=2)
    return q, k, v


def _reference(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """`qkv_attention` without derivatives of its own."""
    return tuple(stream.projected(_projected(*stream.small())) for stream in _streams(inputs))


def _is_large(qkv: torch.Tensor) -> bool:
    return qkv.shape[1] * qkv.shape[2] > PIXELS_AT_ONCE


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(SavedAttention.of(*inputs).values())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if torch.is_grad_enabled():
            return differentiable_vjp(_reference, ctx.saved_tensors, grads)
        return SavedAttention(ctx.saved_tensors, None).vjp(grads)

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out: tuple[torch.Tensor, ...] = _AttentionJvp.apply(*ctx.saved_tensors, *tangents)
        return out


def _fill_vjp_of_sums(
    grad_q: torch.Tensor, grad_k: torch.Tensor, q: torch.Tensor, k: torch.Tensor, grads: Sums
) -> None:
    """Fills the gradients in q and k from those in their sums."""
    torch.mul(q, 2 * grads.q_squares[:, None], out=grad_q)
    torch.mul(k, 2 * grads.k_squares[:, None], out=grad_k)
    grad_q.baddbmm_(k, grads.gram.transpose(1, 2))
    grad_k.baddbmm_(q, grads.gram)


class _AttentionJvp(torch.autograd.Function):
    """Tangents of the streams' results: of all inputs, then of all their tangents."""

    @staticmethod
    def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        half = len(inputs) // 2
        return tuple(tangent for _, tangent in qkv_attention_jvp(inputs[:half], inputs[half:]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs = ctx.saved_tensors
        half = len(inputs) // 2
        count = half // 3
        grad_qkv = [torch.empty_like(tensor) for tensor in inputs[:count]]
        grad_tangents = [torch.empty_like(tensor) for tensor in inputs[:count]]
        small: list[list[torch.Tensor]] = [[], [], [], []]
        for stream, grad in enumerate(grads):
            here = _Stream.of(inputs[:half], stream)
            there = _Stream.of(inputs[half:], stream)
            flat = grad.flatten(1, 2)
            across = flat.transpose(1, 2)
            with torch.enable_grad():
                primals = [tensor.detach().requires_grad_() for tensor in here.small()]
                directions = [tensor.detach().requires_grad_() for tensor in there.small_tangent(here)]
                matrices = jvp(_projected, primals, directions)
                found = torch.autograd.grad(matrices, primals + directions, (across @ there.v, across @ here.v))
            grad_here, grad_there = _Stream.maps(grad_qkv, stream), _Stream.maps(grad_tangents, stream)
            matrix, matrix_tangent = (tensor.detach() for tensor in matrices)
            torch.bmm(flat, matrix_tangent, out=grad_here[2])
            torch.bmm(flat, matrix, out=grad_there[2])
            in_sums, in_tangents = Sums(*found[:3]), Sums(*found[5:8])
            _fill_vjp_of_sums(grad_here[0], grad_here[1], here.q, here.k, in_sums)
            # The sums' tangents are products of the maps and of their tangents: gradients in both.
            grad_here[0].baddbmm_(there.k, in_tangents.gram.transpose(1, 2)).addcmul_(
                there.q, 2 * in_tangents.q_squares[:, None]
            )
            grad_here[1].baddbmm_(there.q, in_tangents.gram).addcmul_(there.k, 2 * in_tangents.k_squares[:, None])
            _fill_vjp_of_sums(grad_there[0], grad_there[1], here.q, here.k, in_tangents)
            for place, tensor in zip(small, (found[3], found[4], found[8], found[9]), strict=True):
                place.append(tensor)
        return *grad_qkv, *small[0], *small[1], *grad_tangents, *small[2], *small[3]


class _Stream(NamedTuple):
    """Maps, (B, HW, C) each, and parameters of one stream."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    temperature: torch.Tensor
    projection: torch.Tensor
    width: int

    @staticmethod
    def of(inputs: Sequence[torch.Tensor], stream: int) -> _Stream:
        """Takes one stream from the inputs of `qkv_attention`."""
        count = len(inputs) // 3
        small = inputs[count + stream], inputs[2 * count + stream]
        return _Stream(*_Stream.maps(inputs[:count], stream), *small, inputs[stream].shape[2])

    @staticmethod
    def maps(qkv: Sequence[torch.Tensor], stream: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Views of the stream before's q and of this one's k and v, (B, HW, C) each."""
        return _flat(qkv[stream - 1])[0], *_flat(qkv[stream])[1:]

    def projected(self, matrix: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Product of v and the matrix (B, outputs, C), plus a residual: (B, H, W, outputs)."""
        if (kernels := self._kernels()) is not None:
            return self.shaped(kernels.weighted_sum(self.v, matrix, residual))
        out = self.shaped(self.v @ matrix.transpose(1, 2))
        return out if residual is None else out.add_(residual)

    def shaped(self, flat: torch.Tensor) -> torch.Tensor:
        """View of (B, HW, C) as (B, H, W, C)."""
        found: torch.Tensor = flat.unflatten(1, (-1, self.width))
        return found

    def small(self) -> tuple[torch.Tensor, ...]:
        """Factors of the stream's matrix: the sums of q and k, temperature and projection."""
        if (kernels := self._kernels()) is not None:
            return *kernels.sums(self.q, self.k), self.temperature, self.projection
        lengths = over_pixels(self.q.square(), self.width), over_pixels(self.k.square(), self.width)
        return gram(self.q, self.k), *lengths, self.temperature, self.projection

    def _kernels(self) -> ModuleType | None:
        """The Triton kernels, where they run on the maps and nothing is to be differentiated through them."""
        recorded = in_forward_mode() or (torch.is_grad_enabled() and any(maps.requires_grad for maps in self[:3]))
        if recorded or not fuses_on_gpu(self.q):
            return None
        import refusion.ops.kernels.attention_sums as kernels

        return kernels if kernels.serves(self.q, self.k, self.v) else None

    def matrix_as_published(self) -> torch.Tensor:
        """Matrix computed by way of normalised copies of q and k.

        The published network's own rounding shows in large images, by up to 4e-5 in its results: so it is the same.
        """
        heads = self.temperature.shape[0]
        q, k = (F.normalize(maps.transpose(1, 2).contiguous(), dim=2, eps=_LEAST_LENGTH) for maps in (self.q, self.k))
        q, k = (maps.unflatten(1, (heads, -1)) for maps in (q, k))
        return self.projection @ attention_matrix(q @ k.transpose(2, 3), self.temperature)

    def small_tangent(self, here: _Stream) -> tuple[torch.Tensor, ...]:
        """Tangent of ``here.small()``, where this is the tangent of that stream."""
        gram = (here.q.transpose(1, 2) @ self.k).baddbmm_(self.q.transpose(1, 2), here.k)
        lengths = (2 * over_pixels(a * b, self.width) for a, b in ((here.q, self.q), (here.k, self.k)))
        return gram, *lengths, self.temperature, self.projection


def _streams(inputs: Sequence[torch.Tensor]) -> list[_Stream]:
    return [_Stream.of(inputs, stream) for stream in range(len(inputs) // 3)]


def _projected(*small: torch.Tensor) -> torch.Tensor:
    return projected_attention(Sums(*small[:3]), small[3], small[4])
