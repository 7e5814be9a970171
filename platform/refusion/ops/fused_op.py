"""Runs parts of a network, whole or piece by piece, and their derivatives, which are written by hand.

A part's intermediate results are several times as wide as what it is given. By itself it runs as a whole and keeps
them for the backward pass. Where nothing will be differentiated it runs piece by piece, so that they stay in a
processor's cache; so it does where memory is short (`recompute`): then only the narrow maps between parts are kept,
and the backward pass makes each piece's results anew, for one more forward pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from refusion.ops.autodiff import differentiable_vjp, in_forward_mode, jvp
from refusion.ops.backend import recomputes
from refusion.ops.parts_by_rows import PartByRows, Slopes, Tensors, move_by_rows, run_by_rows

Made = TypeVar("Made")

ALL_ROWS = slice(None)


class Piece(NamedTuple):
    """Some images, the rows that are made, and the rows that they are made from."""

    images: slice
    made: slice
    read: slice

    @property
    def inner(self) -> slice:
        """The rows that are made among those that are read."""
        if self.made == self.read:
            return ALL_ROWS
        return slice(self.made.start - self.read.start, self.made.stop - self.read.start)

    def source(self, x: torch.Tensor) -> torch.Tensor:
        """What the piece is made from."""
        return x[self.images, self.read]

    def target(self, x: torch.Tensor) -> torch.Tensor:
        """Where the piece belongs."""
        return x[self.images, self.made]


WHOLE = Piece(ALL_ROWS, ALL_ROWS, ALL_ROWS)


class Part(ABC, Generic[Made]):
    """A function of maps, channels last, and of parameters: ``part((*maps, *parameters), rows)``.

    Attributes:
        halo: rows of the maps that a row of the result needs on either side; None where it needs all of them.
        maps: how many of the inputs are maps, (B, H, W, ·); what follows are parameters.
        compiled: the same function as compiled code, which runs in its place where it can.
    """

    halo: int | None
    maps: int = 1
    compiled: PartByRows[Any] | None = None

    @abstractmethod
    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        """The result in those rows, (B, H', W, C). Differentiable: backward and backward, or forward and backward."""

    @abstractmethod
    def make(self, inputs: Tensors, rows: slice) -> Made:
        """The intermediate results that both the result and its slopes are made from."""

    @abstractmethod
    def finish(self, inputs: Tensors, rows: slice, made: Made) -> torch.Tensor:
        """The result from them."""

    @abstractmethod
    def backward(self, inputs: Tensors, rows: slice, made: Made, slope: torch.Tensor, wanted: Sequence[bool]) -> Slopes:
        """The slopes in the inputs, those in parameters if wanted, from the slope in the result; uses `made` up."""

    @abstractmethod
    def change(self, inputs: Tensors, changes: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and its change for a change of the inputs. Makes no graph."""


def pieces_of(x: torch.Tensor, pixels: int, halo: int | None) -> list[Piece]:
    """Cuts (B, H, W, C) into pieces of some `pixels`, of whole images where several fit.

    Args:
        halo: rows that a row needs on either side; None where it needs all of them.
    """
    batch, height, width, _ = x.shape
    images = max(1, pixels // max(1, height * width))
    rows = height if halo is None or images > 1 else min(height, max(4, pixels // width))
    # Pieces of equal size: a last one of a row or two would cost as much as a whole one.
    rows = -(-height // -(-height // rows))
    return [
        Piece(
            slice(first, min(first + images, batch)),
            slice(top, min(top + rows, height)),
            slice(max(top - (halo or 0), 0), min(top + rows + (halo or 0), height)),
        )
        for first in range(0, batch, images)
        for top in range(0, height, rows)
    ]


def pixels_at_once(on_cpu: bool) -> int:
    """Pixels of a piece: what a processor's cache holds with 128 channels, or what keeps a GPU busy."""
    return 1 << 14 if on_cpu else 1 << 20


def run(part: Part[Any], inputs: Tensors) -> torch.Tensor:
    """``part(inputs, all rows)``, (B, H, W, C) for maps (B, H, W, ·).

    Differentiable twice: backward and backward, or forward (by `forward_mode.jvp`) and backward.
    """
    keep = not recomputes() and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    compiled = part.compiled if part.compiled is not None and part.compiled.serves(inputs) else None
    changes = [forward_ad.unpack_dual(tensor).tangent for tensor in inputs] if in_forward_mode() else []
    if any(change is not None for change in changes):
        filled = [
            torch.zeros_like(tensor) if change is None else change
            for tensor, change in zip(inputs, changes, strict=True)
        ]
        values = [forward_ad.unpack_dual(tensor).primal for tensor in inputs]
        # Compiled code has no slopes in the changes of parameters, which nothing in training asks for.
        if compiled is not None and not any(change.requires_grad for change in filled[part.maps :]):
            pair = move_by_rows(compiled, values, filled)
        elif keep and all(change is not None for change in changes):
            return part(inputs, ALL_ROWS)
        else:
            pair = _ForwardMode.apply(part, _pieces(part, inputs), None, *values, *filled)
        moving: torch.Tensor = forward_ad.make_dual(*pair)
        return moving
    if compiled is not None:
        return run_by_rows(compiled, lambda given: part(given, ALL_ROWS), inputs, keep)
    pieces, kept = ([WHOLE], list[Any]()) if keep else (_pieces(part, inputs), None)
    out: torch.Tensor = _InPieces.apply(part, pieces, kept, *inputs)
    return out


def _pieces(part: Part[Any], inputs: Tensors) -> list[Piece]:
    maps = inputs[0]
    return pieces_of(maps, pixels_at_once(maps.device.type == "cpu"), part.halo)


def _cut(piece: Piece, part: Part[Any], inputs: Tensors) -> list[torch.Tensor]:
    return [*(piece.source(tensor) for tensor in inputs[: part.maps]), *inputs[part.maps :]]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.part, ctx.pieces, ctx.kept, *tensors = inputs
    ctx.save_for_backward(*tensors)


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(part: Part[Any], pieces: list[Piece], kept: list[Any] | None, *inputs: torch.Tensor) -> torch.Tensor:
        results = []
        for piece in pieces:
            given = _cut(piece, part, inputs)
            made = part.make(given, piece.inner)
            results.append((part.finish(given, piece.inner, made),))
            if kept is not None:
                kept.append(made)
        return _joined(results, pieces, inputs)[0]

    setup_context = staticmethod(_keep)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, part = ctx.saved_tensors, ctx.part
        if torch.is_grad_enabled():
            found: Slopes = differentiable_vjp(lambda *given: part(given, ALL_ROWS), inputs, [slope])
            return None, None, None, *found
        wanted = ctx.needs_input_grad[3:]
        gathered = _Gathered(part, inputs, wanted)
        slope = slope.contiguous()
        for piece in ctx.pieces:
            given = _cut(piece, part, inputs)
            made = ctx.kept.pop() if ctx.kept else part.make(given, piece.inner)
            gathered.add(piece, part.backward(given, piece.inner, made, piece.target(slope), wanted))
        return None, None, None, *gathered.slopes


class _ForwardMode(torch.autograd.Function):
    """Result and its change, from inputs and their changes."""

    @staticmethod
    def forward(part: Part[Any], pieces: list[Piece], _: None, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        half = len(inputs) // 2
        made = [
            part.change(_cut(piece, part, inputs[:half]), _cut(piece, part, inputs[half:]), piece.inner)
            for piece in pieces
        ]
        return _joined(made, pieces, inputs)

    setup_context = staticmethod(_keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, part = ctx.saved_tensors, ctx.part
        half = len(inputs) // 2
        wanted, wanted_too = ctx.needs_input_grad[3 : 3 + half], ctx.needs_input_grad[3 + half :]
        gathered, gathered_too = _Gathered(part, inputs[:half], wanted), _Gathered(part, inputs[half:], wanted_too)
        for piece in ctx.pieces:
            with torch.enable_grad():
                values = _held(_cut(piece, part, inputs[:half]), wanted)
                changes = _held(_cut(piece, part, inputs[half:]), wanted_too)
                made = jvp(lambda *given, rows=piece.inner: part(given, rows), values, changes)
            held = [tensor for tensor in values + changes if tensor.requires_grad]
            found = iter(torch.autograd.grad(made, held, [piece.target(slope) for slope in slopes]))
            gathered.add(piece, [next(found) if want else None for want in wanted])
            gathered_too.add(piece, [next(found) if want else None for want in wanted_too])
        return None, None, None, *gathered.slopes, *gathered_too.slopes


def _joined(
    made: Sequence[tuple[torch.Tensor, ...]], pieces: Sequence[Piece], inputs: Tensors
) -> tuple[torch.Tensor, ...]:
    """Each result of the pieces as a whole."""
    if len(pieces) == 1:
        return made[0]
    wholes = tuple(tensor.new_empty((*inputs[0].shape[:3], tensor.shape[3])) for tensor in made[0])
    for piece, parts in zip(pieces, made, strict=True):
        for whole, tensor in zip(wholes, parts, strict=True):
            piece.target(whole).copy_(tensor)
    return wholes


def _held(inputs: Tensors, wanted: Sequence[bool]) -> list[torch.Tensor]:
    """The inputs apart from any graph, those that slopes are wanted for as leaves."""
    return [tensor.detach().requires_grad_(want) for tensor, want in zip(inputs, wanted, strict=True)]


class _Gathered:
    """Adds up the pieces' slopes: those of maps where they belong, those of parameters into one."""

    def __init__(self, part: Part[Any], inputs: Tensors, wanted: Sequence[bool]) -> None:
        self.maps = part.maps
        self.slopes: list[torch.Tensor | None] = [
            torch.zeros_like(tensor) if want else None for tensor, want in zip(inputs, wanted, strict=True)
        ]

    def add(self, piece: Piece, slopes: Slopes) -> None:
        """One more piece; neighbouring pieces read rows of each other."""
        for position, (total, slope) in enumerate(zip(self.slopes, slopes, strict=True)):
            if total is None or slope is None:
                continue
            (piece.source(total) if position < self.maps else total).add_(slope)
