"""The compiled code against the same formulas by PyTorch in double precision: values and all derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import plain_layers
import pytest
import torch

from refusion.ops.backend import configure
from refusion.ops.native import library
from refusion.ops.native.build import shared_library
from refusion.ops.native.depthwise import Filtered
from refusion.ops.native.library import SOURCES

# Sums over some hundred terms in single precision; a derivative that lacks a term is off by a hundred times as much.
RELATIVE = 3e-6
# (images, height, width), channels, wide channels: an image of one pixel, rows fewer than threads, blocks not filled.
SIZES = [((1, 1, 1), 16, 32), ((3, 2, 5), 16, 64), ((2, 7, 9), 48, 96), ((1, 5, 27), 32, 160), ((2, 3, 26), 128, 32)]
THREADS = [1, 5]
KINDS = ["gated", "gated without norm", "plain", "plain without norm"]

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.fixture(params=THREADS, ids=lambda threads: f"{threads} threads")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield int(request.param)
    torch.set_num_threads(before)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIZES, ids=str)
def inputs(request: pytest.FixtureRequest, kind: str) -> Filtered:
    return filtered(kind, *request.param)


def filtered(kind: str, images: tuple[int, int, int], channels: int, wide: int) -> Filtered:
    """Inputs of a kind, in single precision."""
    norm = (torch.rand(channels) + 0.5, torch.randn(channels) * 0.3) if "without" not in kind else (None, None)
    project = torch.randn(channels, wide // 2, 1, 1) * (2 / wide) ** 0.5 if kind.startswith("gated") else None
    widen = torch.randn(wide, channels, 1, 1) * channels**-0.5
    return Filtered(torch.randn(*images, channels), *norm, widen, torch.randn(wide, 1, 3, 3) / 3, project)


def definition(kind: str) -> Callable[..., torch.Tensor]:
    """The same by PyTorch, of the inputs that there are."""
    if kind.startswith("gated"):
        return plain_layers.feed_forward

    def plain(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        *norm, widen, kernels = parameters
        source = plain_layers.norm(x, *norm) if norm else x
        return plain_layers.convolved(plain_layers.convolved(source, widen), kernels)

    return plain


def double(inputs: Filtered) -> list[torch.Tensor]:
    return [tensor.double().requires_grad_() for tensor in inputs.given]


def like(inputs: Filtered) -> Filtered:
    return Filtered(*(None if tensor is None else torch.randn_like(tensor) for tensor in inputs))


def assert_near(found: torch.Tensor | None, expected: torch.Tensor) -> None:
    assert found is not None
    assert found.shape == expected.shape
    assert (found - expected).norm() <= RELATIVE * expected.norm()


def test_result(inputs: Filtered, kind: str, threads: int) -> None:
    assert inputs.is_compiled()
    assert_near(inputs.result(), definition(kind)(*double(inputs)))


def test_slopes(inputs: Filtered, kind: str, threads: int) -> None:
    given = double(inputs)
    out = definition(kind)(*given)
    slope = torch.randn_like(out)
    expected = torch.autograd.grad(out, given, slope)
    for found, one in zip(inputs.slopes(slope.float(), True), expected, strict=True):
        assert_near(found, one)


def test_change(inputs: Filtered, kind: str, threads: int) -> None:
    change = like(inputs)
    value, moved = torch.autograd.functional.jvp(definition(kind), tuple(double(inputs)), tuple(double(change)))
    found = inputs.change(change)
    assert_near(found[0], value)
    assert_near(found[1], moved)


def test_slopes_through_change(inputs: Filtered, kind: str, threads: int) -> None:
    change = like(inputs)
    given, moving = double(inputs), double(change)
    pair = torch.autograd.functional.jvp(definition(kind), tuple(given), tuple(moving), create_graph=True)
    slopes = [torch.randn_like(one) for one in pair]
    expected = torch.autograd.grad(pair, [*given, moving[0]], slopes)
    found, of_change = inputs.slopes_through_change(change, slopes[0].float(), slopes[1].float(), True)
    for one, other in zip([*found, of_change], expected, strict=True):
        assert_near(one, other)


def test_slopes_in_parameters_that_nobody_wants_are_left_out(kind: str) -> None:
    inputs = filtered(kind, (2, 4, 5), 16, 32)
    change = like(inputs)
    slope = torch.randn_like(inputs.result())
    of_x, *others = inputs.slopes(slope, False)
    assert of_x is not None
    assert others == [None] * (len(inputs.given) - 1)
    assert torch.equal(of_x, inputs.slopes(slope, True)[0])
    (of_x, *others), of_change = inputs.slopes_through_change(change, slope, slope, False)
    (expected, *_), expected_of_change = inputs.slopes_through_change(change, slope, slope, True)
    assert others == [None] * (len(inputs.given) - 1)
    assert torch.equal(of_x, expected)
    assert torch.equal(of_change, expected_of_change)


def test_inputs_and_slopes_that_are_views(kind: str) -> None:
    inputs = filtered(kind, (2, 4, 5), 16, 32)
    strided = Filtered(*(None if t is None else t.movedim(0, -1).contiguous().movedim(-1, 0) for t in inputs))
    assert not strided.x.is_contiguous()
    assert torch.equal(strided.result(), inputs.result())
    slope = torch.randn_like(inputs.result())
    turned = slope.movedim(0, -1).contiguous().movedim(-1, 0)
    for one, other in zip(strided.slopes(turned, True), inputs.slopes(slope, True), strict=True):
        assert torch.equal(one, other)


def test_the_same_number_of_threads_gives_the_same_bits(kind: str) -> None:
    inputs = filtered(kind, (3, 7, 9), 32, 64)
    slope = torch.randn_like(inputs.result())
    torch.set_num_threads(3)
    try:
        first, second = inputs.slopes(slope, True), inputs.slopes(slope, True)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_older_processors_compute_the_same(capability: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if capability == "AVX2" and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("this processor has no AVX2")
    inputs = filtered(kind, (2, 7, 9), 48, 96)
    change = like(inputs)
    slopes = [torch.randn_like(one) for one in inputs.change(change)]
    expected = [*inputs.change(change), *inputs.slopes_through_change(change, *slopes, True)[0]]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for_older = shared_library(SOURCES)
    monkeypatch.setattr(library, "compiled", lambda: for_older)
    found = [*inputs.change(change), *inputs.slopes_through_change(change, *slopes, True)[0]]
    for one, other in zip(found, expected, strict=True):
        assert other is not None
        assert_near(one, other)


def test_far_gates_are_shut_or_open() -> None:
    inputs = filtered("gated without norm", (1, 1, 1), 16, 32)
    # Each gate and each value is a channel of x, as it is.
    widen = torch.cat((torch.eye(16), torch.eye(16)))[:, :, None, None]
    kernels = torch.zeros(32, 1, 3, 3)
    kernels[:, :, 1, 1] = 1
    x = torch.tensor([-200.0, -40, -13, -6, -3, -1, -1e-3, -1e-30, 0, 1e-30, 1e-3, 1, 3, 6, 13, 200]).view(1, 1, 1, 16)
    inputs = inputs._replace(x=x, widen=widen, kernels=kernels, project=torch.eye(16)[:, :, None, None])
    expected = x.double() + torch.nn.functional.gelu(x.double()) * x.double()
    torch.testing.assert_close(inputs.result().double(), expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    "refused",
    [
        filtered("gated", (1, 2, 2), 24, 96),
        filtered("gated", (1, 2, 2), 16, 48),
        filtered("plain", (1, 2, 2), 144, 32),
        filtered("plain", (0, 2, 2), 16, 32),
        Filtered(*(t if t is None else t.double() for t in filtered("gated", (1, 2, 2), 16, 32))),
    ],
    ids=["channels", "gates", "too many channels", "no pixels", "double precision"],
)
def test_what_the_code_does_not_serve(refused: Filtered) -> None:
    assert not refused.is_compiled()


def test_nothing_is_served_once_it_is_switched_off() -> None:
    inputs = filtered("gated", (1, 2, 2), 16, 32)
    assert inputs.is_compiled()
    configure(compile=False)
    assert not inputs.is_compiled()
