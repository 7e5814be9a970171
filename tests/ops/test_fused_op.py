"""Cutting maps into pieces, and parts that run whole or in pieces: all ways give what the definition gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import plain_layers
import pytest
import torch
from derivative_checks import CHECKS, Check, Function, assert_near, leaves
from part_checks import cross_attention_inputs, feed_forward_inputs, self_attention_inputs

from refusion.ops import fused_op as pieces
from refusion.ops.autodiff import jvp
from refusion.ops.backend import configure
from refusion.ops.feed_forward import FeedForward
from refusion.ops.fused_op import Part, pieces_of, run
from refusion.ops.sublayers import CrossAttention, SelfAttention

BATCH, HEIGHT, WIDTH = 3, 9, 4
# Three rows at a time (4, evened out), one image, two images, all.
PIXELS = {16: 9, 36: 3, 72: 2, 1000: 1}
PARTS: dict[str, tuple[Part[Any], Function, Callable[..., list[torch.Tensor]]]] = {
    "feed-forward": (FeedForward(), plain_layers.feed_forward, feed_forward_inputs),
    "without norm": (FeedForward(), plain_layers.feed_forward, partial(feed_forward_inputs, with_norm=False)),
    "self-attention": (SelfAttention(), plain_layers.self_attention, self_attention_inputs),
    "cross-attention": (CrossAttention(), plain_layers.cross_attention, cross_attention_inputs),
}
EACH_PART = pytest.mark.parametrize("name", PARTS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(13)


@pytest.fixture(params=[True, False], ids=["recomputed", "kept"])
def recomputed(request: pytest.FixtureRequest) -> Iterator[bool]:
    with configure(compile=False, recompute=request.param):
        yield request.param


@pytest.fixture(params=PIXELS, ids=lambda pixels: f"{pixels} pixels")
def pixels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(pieces, "pixels_at_once", lambda _: request.param)
    return int(request.param)


def part_of(name: str) -> tuple[Part[Any], Function, list[torch.Tensor]]:
    """A part, its definition and inputs of some images."""
    part, plain, make = PARTS[name]
    return part, plain, make(BATCH, HEIGHT)


class Noting(FeedForward):
    """Notes the shapes that results are made from."""

    def __init__(self) -> None:
        self.made: list[tuple[int, ...]] = []

    def make(self, inputs: Sequence[torch.Tensor], rows: slice) -> Any:
        self.made.append(tuple(inputs[0].shape))
        return super().make(inputs, rows)


@pytest.mark.parametrize("halo", [0, 1, 2, None])
@pytest.mark.parametrize("pixels_wanted", [1, 16, 36, 50, 72, 1000])
@pytest.mark.parametrize("shape", [(3, 9, 4, 1), (1, 1, 1, 1), (4, 10, 4, 1), (2, 3, 30, 1)])
def test_every_row_is_made_once_from_the_rows_it_needs(
    shape: tuple[int, ...], pixels_wanted: int, halo: int | None
) -> None:
    x = torch.arange(torch.Size(shape).numel()).view(shape)
    times = torch.zeros_like(x)
    for piece in pieces_of(x, pixels_wanted, halo):
        piece.target(times).add_(1)
        assert torch.equal(piece.source(x)[:, piece.inner], piece.target(x))
        above, below = piece.made.start - piece.read.start, piece.read.stop - piece.made.stop
        assert above == min(halo or 0, piece.made.start)
        assert below == min(halo or 0, shape[1] - piece.made.stop)
        if halo is None:
            assert piece.made == slice(0, shape[1])
    assert (times == 1).all()


def test_pieces_are_of_equal_size() -> None:
    rows = [piece.made for piece in pieces_of(torch.empty(1, 9, 4, 1), 16, 1)]
    assert rows == [slice(0, 3), slice(3, 6), slice(6, 9)]


def test_whole_images_where_several_fit() -> None:
    cut = pieces_of(torch.empty(5, 9, 4, 1), 80, 1)
    assert [piece.images for piece in cut] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert all(piece.made == piece.read == slice(0, 9) for piece in cut)


@EACH_PART
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, name: str, pixels: int, recomputed: bool) -> None:
    part, plain, inputs = part_of(name)
    check(lambda *given: run(part, given), plain, inputs)


@EACH_PART
@pytest.mark.parametrize("check", CHECKS)
def test_parameters_that_want_no_slopes(
    check: Check, name: str, recomputed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "pixels_at_once", lambda _: 16)
    part, plain, inputs = part_of(name)
    maps = [tensor.clone().requires_grad_() for tensor in inputs[: part.maps]]
    check(lambda *given: run(part, given), plain, maps + inputs[part.maps :])


@EACH_PART
@pytest.mark.parametrize("check", CHECKS)
def test_one_parameter_alone_wants_slopes(
    check: Check, name: str, recomputed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "pixels_at_once", lambda _: 16)
    part, plain, inputs = part_of(name)
    last = inputs[-1].clone().requires_grad_()
    check(lambda *given: run(part, given), plain, [*inputs[:-1], last])


@EACH_PART
def test_a_change_of_some_inputs_alone(name: str, pixels: int) -> None:
    part, plain, inputs = part_of(name)
    changes = [torch.randn_like(inputs[0]), *(torch.zeros_like(tensor) for tensor in inputs[1:])]
    found = jvp(lambda x: run(part, [x, *inputs[1:]]), inputs[:1], changes[:1])
    assert_near(found, torch.autograd.functional.jvp(plain, tuple(inputs), tuple(changes)))


@EACH_PART
def test_a_second_backward_pass_gives_the_same(name: str, pixels: int, recomputed: bool) -> None:
    part, plain, inputs = part_of(name)
    held = leaves(inputs)
    out = run(part, held)
    slope = torch.randn_like(out)
    first = torch.autograd.grad(out, held, slope, retain_graph=True)
    second = torch.autograd.grad(out, held, slope)
    assert_near(first, torch.autograd.grad(plain(*held), held, slope))
    assert_near(second, first)


def test_kept_results_are_made_once_as_a_whole(pixels: int) -> None:
    part, held = Noting(), leaves(feed_forward_inputs(BATCH, HEIGHT))
    out = run(part, held)
    assert part.made == [(BATCH, HEIGHT, WIDTH, 6)]
    out.sum().backward(retain_graph=True)
    assert len(part.made) == 1
    out.sum().backward()
    assert len(part.made) == 2


def test_recomputed_results_are_made_piece_by_piece_again(pixels: int) -> None:
    part, held = Noting(), leaves(feed_forward_inputs(BATCH, HEIGHT))
    with configure(compile=False, recompute=True):
        out = run(part, held)
        assert len(part.made) == PIXELS[pixels]
        out.sum().backward()
    assert len(part.made) == 2 * PIXELS[pixels]


def test_nothing_is_kept_where_nothing_is_differentiated(pixels: int) -> None:
    part, inputs = Noting(), feed_forward_inputs(BATCH, HEIGHT)
    run(part, inputs)
    assert len(part.made) == PIXELS[pixels]
    with torch.no_grad():
        run(part, leaves(inputs))
    assert len(part.made) == 2 * PIXELS[pixels]
