"""Fused operations whole, tile by tile, saved, recomputed and compiled: all ways give the definition's results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, Function, assert_near, leaves
from fused_op_checks import channel_attention_inputs, cross_attention_inputs, feed_forward_inputs

import refusion.ops.fused_op as fused_op
from refusion.ops.autodiff import jvp
from refusion.ops.backend import configure
from refusion.ops.feed_forward import GatedFeedForward
from refusion.ops.fused_op import FusedOp, Grads, Reference, Tensors, run
from refusion.ops.sublayers import ChannelAttention, CrossAttention
from refusion.ops.tiling import ALL_ROWS

BATCH, HEIGHT, WIDTH = 3, 9, 4
# Three rows at a time (4, evened out), one image, two images, all.
PIXELS = {16: 9, 36: 3, 72: 2, 1000: 1}
OPS: dict[str, tuple[FusedOp[Any], Function, Callable[..., list[torch.Tensor]]]] = {
    "feed-forward": (GatedFeedForward(), reference_ops.gated_feed_forward, feed_forward_inputs),
    "without norm": (
        GatedFeedForward(),
        reference_ops.gated_feed_forward,
        partial(feed_forward_inputs, with_norm=False),
    ),
    "attention": (ChannelAttention(), reference_ops.channel_attention, channel_attention_inputs),
    "cross-attention": (CrossAttention(), reference_ops.cross_attention, cross_attention_inputs),
}
EACH_OP = pytest.mark.parametrize("name", OPS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(13)


@pytest.fixture(params=[True, False], ids=["recomputing", "saved"])
def recomputing(request: pytest.FixtureRequest) -> Iterator[bool]:
    with configure(compile=False, recompute=request.param):
        yield request.param


@pytest.fixture(params=PIXELS, ids=lambda pixels: f"{pixels} pixels")
def pixels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(fused_op, "pixels_at_once", lambda _: request.param)
    return int(request.param)


def op_of(name: str) -> tuple[FusedOp[Any], Function, list[torch.Tensor]]:
    """The operation, its definition and inputs of some images."""
    op, reference, inputs_of = OPS[name]
    return op, reference, inputs_of(BATCH, HEIGHT)


class Noting(GatedFeedForward):
    """Notes the shapes of what intermediate results are computed from."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def save(self, inputs: Sequence[torch.Tensor], rows: slice) -> Any:
        self.seen.append(tuple(inputs[0].shape))
        return super().save(inputs, rows)


@EACH_OP
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, name: str, pixels: int, recomputing: bool) -> None:
    op, reference, inputs = op_of(name)
    check(lambda *given: run(op, given), reference, inputs)


@EACH_OP
@pytest.mark.parametrize("check", CHECKS)
def test_parameters_that_need_no_gradient(
    check: Check, name: str, recomputing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_op, "pixels_at_once", lambda _: 16)
    op, reference, inputs = op_of(name)
    maps = [tensor.clone().requires_grad_() for tensor in inputs[: op.maps]]
    check(lambda *given: run(op, given), reference, maps + inputs[op.maps :])


@EACH_OP
@pytest.mark.parametrize("check", CHECKS)
def test_one_parameter_alone_needs_its_gradient(
    check: Check, name: str, recomputing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_op, "pixels_at_once", lambda _: 16)
    op, reference, inputs = op_of(name)
    last = inputs[-1].clone().requires_grad_()
    check(lambda *given: run(op, given), reference, [*inputs[:-1], last])


@EACH_OP
def test_tangents_of_some_inputs_alone(name: str, pixels: int) -> None:
    op, reference, inputs = op_of(name)
    tangents = [torch.randn_like(inputs[0]), *(torch.zeros_like(tensor) for tensor in inputs[1:])]
    found = jvp(lambda x: run(op, [x, *inputs[1:]]), inputs[:1], tangents[:1])
    assert_near(found, torch.autograd.functional.jvp(reference, tuple(inputs), tuple(tangents)))


@EACH_OP
def test_a_second_backward_pass_gives_the_same(name: str, pixels: int, recomputing: bool) -> None:
    op, reference, inputs = op_of(name)
    held = leaves(inputs)
    out = run(op, held)
    grad = torch.randn_like(out)
    first = torch.autograd.grad(out, held, grad, retain_graph=True)
    second = torch.autograd.grad(out, held, grad)
    assert_near(first, torch.autograd.grad(reference(*held), held, grad))
    assert_near(second, first)


def test_saved_results_are_computed_once_as_a_whole(pixels: int) -> None:
    op, held = Noting(), leaves(feed_forward_inputs(BATCH, HEIGHT))
    out = run(op, held)
    assert op.seen == [(BATCH, HEIGHT, WIDTH, 6)]
    out.sum().backward(retain_graph=True)
    assert len(op.seen) == 1
    out.sum().backward()
    assert len(op.seen) == 2


def test_recomputed_results_are_computed_tile_by_tile_again(pixels: int) -> None:
    op, held = Noting(), leaves(feed_forward_inputs(BATCH, HEIGHT))
    with configure(compile=False, recompute=True):
        out = run(op, held)
        assert len(op.seen) == PIXELS[pixels]
        out.sum().backward()
    assert len(op.seen) == 2 * PIXELS[pixels]


def test_nothing_is_saved_where_nothing_is_differentiated(pixels: int) -> None:
    op, inputs = Noting(), feed_forward_inputs(BATCH, HEIGHT)
    run(op, inputs)
    assert len(op.seen) == PIXELS[pixels]
    with torch.no_grad():
        run(op, leaves(inputs))
    assert len(op.seen) == 2 * PIXELS[pixels]


class NativeSquares(FusedOp[torch.Tensor]):
    """x² · weight, noting its calls."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.calls: list[str] = []

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return self._reference(inputs, rows)

    def serves(self, inputs: Tensors) -> bool:
        return inputs[0].dtype == torch.float32

    def save(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        assert rows == ALL_ROWS
        self.calls.append("save")
        return inputs[0] ** 2

    def value(self, inputs: Tensors, rows: slice, saved: torch.Tensor) -> torch.Tensor:
        return saved * inputs[1]

    def vjp(
        self, inputs: Tensors, rows: slice, saved: torch.Tensor, grad: torch.Tensor, needs_grad: Sequence[bool]
    ) -> Grads:
        self.calls.append("vjp")
        return [grad * 2 * inputs[0] * inputs[1], (grad * saved).sum(dim=(0, 1, 2))]

    def jvp(self, inputs: Tensors, tangents: Tensors, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls.append("jvp")
        (x, weight), (dx, dweight) = inputs, tangents
        return x**2 * weight, 2 * x * dx * weight + x**2 * dweight

    def vjp_of_jvp(
        self, inputs: Tensors, tangents: Tensors, rows: slice, grads: Tensors, needs_grad: Sequence[bool]
    ) -> Grads:
        self.calls.append("vjp of jvp")
        (x, weight), (dx, dweight), (first, second) = inputs, tangents, grads
        grad_x = 2 * (first * x * weight + second * (dx * weight + x * dweight))
        grad_weight = (first * x**2 + second * 2 * x * dx).sum(dim=(0, 1, 2))
        return [grad_x, grad_weight, second * 2 * x * weight, None]


class Squares(FusedOp[None]):
    """The same by PyTorch."""

    halo = 0

    def __init__(self) -> None:
        self.native = NativeSquares(self.reference)

    def reference(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return inputs[0][:, rows] ** 2 * inputs[1]

    def save(self, inputs: Tensors, rows: slice) -> None:
        raise AssertionError("the compiled code serves")

    value = vjp = jvp = save  # type: ignore[assignment]


@pytest.fixture
def op() -> Squares:
    return Squares()


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    torch.manual_seed(2)
    return [torch.randn(2, 3, 4, 5).requires_grad_(), torch.randn(5).requires_grad_()]


def calls_of(op: Squares) -> list[str]:
    assert isinstance(op.native, NativeSquares)
    return op.native.calls


def expected_grads(inputs: list[torch.Tensor], grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(inputs[0] ** 2 * inputs[1], inputs, grad)


def test_native_results_are_saved_for_one_backward_pass(op: Squares, inputs: list[torch.Tensor]) -> None:
    out = run(op, inputs)
    grad = torch.randn_like(out)
    for _ in range(2):
        found = torch.autograd.grad(out, inputs, grad, retain_graph=True)
        torch.testing.assert_close(found, expected_grads(inputs, grad))
    assert calls_of(op) == ["save", "vjp", "save", "vjp"]


def test_native_results_are_recomputed_where_configured(op: Squares, inputs: list[torch.Tensor]) -> None:
    with configure(compile=False, recompute=True):
        out = run(op, inputs)
    grad = torch.randn_like(out)
    torch.testing.assert_close(torch.autograd.grad(out, inputs, grad), expected_grads(inputs, grad))
    assert calls_of(op) == ["save", "save", "vjp"]


def test_a_graph_of_the_gradients_goes_by_the_reference(op: Squares, inputs: list[torch.Tensor]) -> None:
    (first,) = torch.autograd.grad(run(op, inputs).sum(), inputs[:1], create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), inputs[:1])
    torch.testing.assert_close(second, (2 * inputs[1]).expand_as(second))
    assert calls_of(op) == ["save"]


def test_native_jvp_and_its_vjp(op: Squares, inputs: list[torch.Tensor]) -> None:
    x, weight = inputs
    dx, dweight = torch.randn_like(x).requires_grad_(), torch.randn_like(weight)
    pair = jvp(lambda *given: run(op, given), [x, weight], [dx, dweight])
    reference = x**2 * weight, 2 * x * dx * weight + x**2 * dweight
    torch.testing.assert_close(pair, reference)
    grads = [torch.randn_like(one) for one in pair]
    found = torch.autograd.grad(pair, [x, weight, dx], grads)
    torch.testing.assert_close(found, torch.autograd.grad(reference, [x, weight, dx], grads))
    assert calls_of(op) == ["jvp", "vjp of jvp"]


def test_gradients_in_tangents_of_parameters_go_by_the_reference(op: Squares, inputs: list[torch.Tensor]) -> None:
    x, weight = inputs
    dx, dweight = torch.randn_like(x), torch.randn_like(weight).requires_grad_()
    _, tangent = jvp(lambda *given: run(op, given), [x, weight], [dx, dweight])
    (found,) = torch.autograd.grad(tangent.sum(), [dweight])
    torch.testing.assert_close(found, (x**2).sum(dim=(0, 1, 2)))
    assert calls_of(op) == []


def test_tangents_of_the_maps_alone(op: Squares, inputs: list[torch.Tensor]) -> None:
    x, weight = (tensor.detach() for tensor in inputs)
    dx = torch.randn_like(x)
    _, tangent = jvp(lambda given: run(op, [given, weight]), [x], [dx])
    torch.testing.assert_close(tangent, 2 * x * dx * weight)
