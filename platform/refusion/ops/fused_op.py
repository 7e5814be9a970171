"""Runs operations that are fused into one, whole or tile by tile, with derivatives that are written by hand.

Intermediate results are several times as wide as inputs and outputs. Operation by operation an autograd graph keeps all
of them. A fused operation saves what its backward pass uses and no more. Where nothing will be differentiated it runs
tile by tile, so that intermediate results stay in a processor's cache; so it does where backward passes recompute
(`backend.configure`): then only inputs are saved, and the backward pass computes each tile's intermediate results
again, for one more forward pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from refusion.ops.autodiff import differentiable_vjp, in_forward_mode, jvp
from refusion.ops.backend import recomputes
from refusion.ops.tiling import ALL_ROWS, WHOLE, Tile, pixels_at_once, tiles_of

Saved = TypeVar("Saved")
Tensors = Sequence[torch.Tensor]
Grads = Sequence[torch.Tensor | None]
Reference = Callable[[Tensors, slice], torch.Tensor]


class FusedOp(ABC, Generic[Saved]):
    """A function of maps, channels last, and of parameters: of ``(*maps, *parameters)``.

    Attributes:
        halo: rows of the maps that a row of the result needs on either side; None where it needs all of them.
        maps: how many of the inputs are maps, (B, H, W, ·); what follows are parameters.
        native: the same function as compiled code, which runs in its place on the inputs that it serves, always on
            whole images. It gives no gradients in the tangents of parameters.
        gpu: the same as large kernels of a GPU, alike.
    """

    halo: int | None = None
    maps: int = 1
    native: FusedOp[Any] | None = None
    gpu: FusedOp[Any] | None = None

    def serves(self, inputs: Tensors) -> bool:
        """Tells whether it can run on these inputs."""
        return True

    @abstractmethod
    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        """Result in those rows, (B, H', W, C), by functions that autograd and forward mode follow, to second order."""

    @abstractmethod
    def save(self, inputs: Tensors, rows: slice) -> Saved:
        """Intermediate results that both the result and the gradients are computed from."""

    @abstractmethod
    def value(self, inputs: Tensors, rows: slice, saved: Saved) -> torch.Tensor:
        """Result in those rows, (B, H', W, C)."""

    @abstractmethod
    def vjp(self, inputs: Tensors, rows: slice, saved: Saved, grad: torch.Tensor, needs_grad: Sequence[bool]) -> Grads:
        """Gradients in the inputs from that in the result; may overwrite `saved`, and give more than are needed."""

    @abstractmethod
    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Result and its tangent. Makes no graph."""

    def vjp_of_jvp(
        self, inputs: Tensors, tangents: Tensors, rows: slice, grads: Tensors, needs_grad: Sequence[bool]
    ) -> Grads:
        """Gradients in the inputs, then in the tangents, from those in the result and in its tangent."""
        with torch.enable_grad():
            leaves = [
                tensor.detach().requires_grad_(needs)
                for tensor, needs in zip((*inputs, *tangents), needs_grad, strict=True)
            ]
            primals, directions = leaves[: len(inputs)], leaves[len(inputs) :]
            pair = jvp(lambda *given: self.reference(given, rows), primals, directions)
        found = iter(torch.autograd.grad(pair, [leaf for leaf in leaves if leaf.requires_grad], grads))
        return [next(found) if needs else None for needs in needs_grad]


def run(op: FusedOp[Any], inputs: Tensors) -> torch.Tensor:
    """Result of the operation in all rows, (B, H, W, C) for maps (B, H, W, ·).

    Differentiable to second order: backward and backward, or forward (by `autodiff.jvp`) and backward.
    """
    saves = not recomputes() and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    native = next((one for one in (op.native, op.gpu) if one is not None and one.serves(inputs)), None)
    tangents = [forward_ad.unpack_dual(tensor).tangent for tensor in inputs] if in_forward_mode() else []
    if any(tangent is not None for tangent in tangents):
        return _run_in_forward_mode(op, native, inputs, tangents, saves)
    tiles = [WHOLE] if saves or native is not None else _tiles(op, inputs)
    saved: list[Any] | None = [] if saves else None
    out: torch.Tensor = _Value.apply(native or op, tiles, saved, *inputs)
    return out


def _run_in_forward_mode(
    op: FusedOp[Any],
    native: FusedOp[Any] | None,
    inputs: Tensors,
    tangents: Sequence[torch.Tensor | None],
    saves: bool,
) -> torch.Tensor:
    directions = [
        torch.zeros_like(tensor) if tangent is None else tangent
        for tensor, tangent in zip(inputs, tangents, strict=True)
    ]
    primals = [forward_ad.unpack_dual(tensor).primal for tensor in inputs]
    if native is not None and not any(tangent.requires_grad for tangent in directions[op.maps :]):
        pair = _Jvp.apply(native, [WHOLE], None, *primals, *directions)
    elif saves and all(tangent is not None for tangent in tangents):
        return op.reference(inputs, ALL_ROWS)
    else:
        pair = _Jvp.apply(op, _tiles(op, inputs), None, *primals, *directions)
    dual: torch.Tensor = forward_ad.make_dual(*pair)
    return dual


def _tiles(op: FusedOp[Any], inputs: Tensors) -> list[Tile]:
    maps = inputs[0]
    return tiles_of(maps, pixels_at_once(maps.device.type == "cpu"), op.halo)


def _cut(tile: Tile, op: FusedOp[Any], inputs: Tensors) -> list[torch.Tensor]:
    return [*(tile.source(tensor) for tensor in inputs[: op.maps]), *inputs[op.maps :]]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.op, ctx.tiles, ctx.saved, *tensors = inputs
    ctx.save_for_backward(*tensors)


class _Value(torch.autograd.Function):
    """The result. ``saved``: a list for what is kept until the backward pass; None if that is to recompute it."""

    @staticmethod
    def forward(op: FusedOp[Any], tiles: list[Tile], saved: list[Any] | None, *inputs: torch.Tensor) -> torch.Tensor:
        results = []
        for tile in tiles:
            given = _cut(tile, op, inputs)
            of_tile = op.save(given, tile.inner)
            results.append((op.value(given, tile.inner, of_tile),))
            if saved is not None:
                saved.append(of_tile)
        return _joined(results, tiles, inputs)[0]

    setup_context = staticmethod(_keep)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, op = ctx.saved_tensors, ctx.op
        if torch.is_grad_enabled():
            grads: Grads = differentiable_vjp(lambda *given: op.reference(given, ALL_ROWS), inputs, [grad])
            return None, None, None, *grads
        grad = grad.contiguous()

        def of_tile(tile: Tile) -> Grads:
            given = _cut(tile, op, inputs)
            saved = ctx.saved.pop() if ctx.saved else op.save(given, tile.inner)
            found: Grads = op.vjp(given, tile.inner, saved, tile.target(grad), ctx.needs_input_grad[3:])
            return found

        return None, None, None, *_summed(of_tile, ctx.tiles, inputs, ctx.needs_input_grad[3:], range(op.maps))


class _Jvp(torch.autograd.Function):
    """The result and its tangent, from inputs and their tangents, laid end to end."""

    @staticmethod
    def forward(op: FusedOp[Any], tiles: list[Tile], _: None, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        half = len(tensors) // 2
        results = [op.jvp(_cut(tile, op, tensors[:half]), _cut(tile, op, tensors[half:]), tile.inner) for tile in tiles]
        return _joined(results, tiles, tensors)

    setup_context = staticmethod(_keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tensors, op, needs_grad = ctx.saved_tensors, ctx.op, ctx.needs_input_grad[3:]
        half = len(tensors) // 2

        def of_tile(tile: Tile) -> Grads:
            given, tangents = _cut(tile, op, tensors[:half]), _cut(tile, op, tensors[half:])
            of_target = [tile.target(grad) for grad in grads]
            found: Grads = op.vjp_of_jvp(given, tangents, tile.inner, of_target, needs_grad)
            return found

        maps = (*range(op.maps), *range(half, half + op.maps))
        return None, None, None, *_summed(of_tile, ctx.tiles, tensors, needs_grad, maps)


def _joined(
    results: Sequence[tuple[torch.Tensor, ...]], tiles: Sequence[Tile], inputs: Tensors
) -> tuple[torch.Tensor, ...]:
    """Each of the tiles' results as a whole."""
    if len(tiles) == 1:
        return results[0]
    wholes = tuple(tensor.new_empty((*inputs[0].shape[:3], tensor.shape[3])) for tensor in results[0])
    for tile, of_tile in zip(tiles, results, strict=True):
        for whole, tensor in zip(wholes, of_tile, strict=True):
            tile.target(whole).copy_(tensor)
    return wholes


def _summed(
    of_tile: Callable[[Tile], Grads],
    tiles: Sequence[Tile],
    tensors: Tensors,
    needs_grad: Sequence[bool],
    maps: Sequence[int],
) -> Grads:
    """Gradients in the tensors, summed over the tiles; those in maps, at these positions, where the tile reads."""
    if len(tiles) == 1:
        return of_tile(tiles[0])
    totals = [torch.zeros_like(tensor) if needs else None for tensor, needs in zip(tensors, needs_grad, strict=True)]
    for tile in tiles:
        for position, (total, grad) in enumerate(zip(totals, of_tile(tile), strict=True)):
            if total is not None and grad is not None:
                (tile.source(total) if position in maps else total).add_(grad)
    return totals
