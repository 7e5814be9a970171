"""The compiled code against the same formulas by PyTorch in double precision: values and all derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import reference_ops
import torch

from refusion.ops.backend import configure
from refusion.ops.native import library
from refusion.ops.native.build import shared_library
from refusion.ops.native.depthwise import SeparableConv
from refusion.ops.native.library import SOURCES

# Sums over some hundred terms in single precision; a derivative that lacks a term is off by a hundred times as much.
RELATIVE = 3e-6
# (images, height, width), channels, wide channels: an image of one pixel, rows fewer than threads, blocks not filled.
SIZES = [((1, 1, 1), 16, 32), ((3, 2, 5), 16, 64), ((2, 7, 9), 48, 96), ((1, 5, 27), 32, 160), ((2, 3, 26), 128, 32)]
KINDS = ["gated", "gated without norm", "plain", "plain without norm"]
# Several threads with one kind only, the one that has all parameters: threads share rows and sums whatever the kind.
CASES = [*((kind, 1) for kind in KINDS), (KINDS[0], 5)]

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]} threads")
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """A kind of inputs, while so many threads compute."""
    found, threads = request.param
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    yield str(found)
    torch.set_num_threads(before)


@pytest.fixture(params=SIZES, ids=str)
def inputs(request: pytest.FixtureRequest, kind: str) -> SeparableConv:
    return separable_conv(kind, *request.param)


def separable_conv(kind: str, images: tuple[int, int, int], channels: int, wide: int) -> SeparableConv:
    """Inputs of a kind, in single precision."""
    norm = (torch.rand(channels) + 0.5, torch.randn(channels) * 0.3) if "without" not in kind else (None, None)
    projection = torch.randn(channels, wide // 2, 1, 1) * (2 / wide) ** 0.5 if kind.startswith("gated") else None
    pointwise = torch.randn(wide, channels, 1, 1) * channels**-0.5
    return SeparableConv(torch.randn(*images, channels), *norm, pointwise, torch.randn(wide, 1, 3, 3) / 3, projection)


def definition(kind: str) -> Callable[..., torch.Tensor]:
    """The same by PyTorch, without the inputs that are None."""
    if kind.startswith("gated"):
        return reference_ops.gated_feed_forward

    def plain(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        *norm, pointwise, depthwise = parameters
        source = reference_ops.layer_norm(x, *norm) if norm else x
        return reference_ops.conv(reference_ops.conv(source, pointwise), depthwise)

    return plain


def double(inputs: SeparableConv) -> list[torch.Tensor]:
    return [tensor.double().requires_grad_() for tensor in inputs.given]


def like(inputs: SeparableConv) -> SeparableConv:
    return SeparableConv(*(None if tensor is None else torch.randn_like(tensor) for tensor in inputs))


def assert_near(found: torch.Tensor | None, expected: torch.Tensor) -> None:
    assert found is not None
    assert found.shape == expected.shape
    assert (found - expected).norm() <= RELATIVE * expected.norm()


def test_value(inputs: SeparableConv, kind: str) -> None:
    assert inputs.is_served()
    assert_near(inputs.value(), definition(kind)(*double(inputs)))


def test_vjp(inputs: SeparableConv, kind: str) -> None:
    given = double(inputs)
    out = definition(kind)(*given)
    grad = torch.randn_like(out)
    expected = torch.autograd.grad(out, given, grad)
    for found, one in zip(inputs.vjp(grad.float(), True), expected, strict=True):
        assert_near(found, one)


def test_jvp(inputs: SeparableConv, kind: str) -> None:
    tangent = like(inputs)
    value, out_tangent = torch.autograd.functional.jvp(definition(kind), tuple(double(inputs)), tuple(double(tangent)))
    found = inputs.jvp(tangent)
    assert_near(found[0], value)
    assert_near(found[1], out_tangent)


def test_vjp_of_jvp(inputs: SeparableConv, kind: str) -> None:
    tangent = like(inputs)
    given, tangents = double(inputs), double(tangent)
    pair = torch.autograd.functional.jvp(definition(kind), tuple(given), tuple(tangents), create_graph=True)
    grads = [torch.randn_like(one) for one in pair]
    expected = torch.autograd.grad(pair, [*given, tangents[0]], grads)
    found, grad_dx = inputs.vjp_of_jvp(tangent, grads[0].float(), grads[1].float(), True)
    for one, other in zip([*found, grad_dx], expected, strict=True):
        assert_near(one, other)


def test_gradients_in_parameters_that_need_none_are_left_out(kind: str) -> None:
    inputs = separable_conv(kind, (2, 4, 5), 16, 32)
    tangent = like(inputs)
    grad = torch.randn_like(inputs.value())
    grad_x, *others = inputs.vjp(grad, False)
    assert grad_x is not None
    assert others == [None] * (len(inputs.given) - 1)
    assert torch.equal(grad_x, inputs.vjp(grad, True)[0])
    (grad_x, *others), grad_dx = inputs.vjp_of_jvp(tangent, grad, grad, False)
    (expected, *_), expected_grad_dx = inputs.vjp_of_jvp(tangent, grad, grad, True)
    assert others == [None] * (len(inputs.given) - 1)
    assert torch.equal(grad_x, expected)
    assert torch.equal(grad_dx, expected_grad_dx)


def test_inputs_and_gradients_that_are_views(kind: str) -> None:
    inputs = separable_conv(kind, (2, 4, 5), 16, 32)
    strided = SeparableConv(*(None if t is None else t.movedim(0, -1).contiguous().movedim(-1, 0) for t in inputs))
    assert not strided.x.is_contiguous()
    assert torch.equal(strided.value(), inputs.value())
    grad = torch.randn_like(inputs.value())
    turned = grad.movedim(0, -1).contiguous().movedim(-1, 0)
    for one, other in zip(strided.vjp(turned, True), inputs.vjp(grad, True), strict=True):
        assert torch.equal(one, other)


def test_the_same_number_of_threads_gives_the_same_bits(kind: str) -> None:
    inputs = separable_conv(kind, (3, 7, 9), 32, 64)
    grad = torch.randn_like(inputs.value())
    torch.set_num_threads(3)
    try:
        first, second = inputs.vjp(grad, True), inputs.vjp(grad, True)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_older_processors_compute_the_same(capability: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if capability == "AVX2" and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("this processor has no AVX2")
    inputs = separable_conv(kind, (2, 7, 9), 48, 96)
    tangent = like(inputs)
    grads = [torch.randn_like(one) for one in inputs.jvp(tangent)]
    expected = [*inputs.jvp(tangent), *inputs.vjp_of_jvp(tangent, *grads, True)[0]]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for_older = shared_library(SOURCES)
    monkeypatch.setattr(library, "compiled", lambda: for_older)
    found = [*inputs.jvp(tangent), *inputs.vjp_of_jvp(tangent, *grads, True)[0]]
    for one, other in zip(found, expected, strict=True):
        assert other is not None
        assert_near(one, other)


def test_far_gates_are_shut_or_open() -> None:
    inputs = separable_conv("gated without norm", (1, 1, 1), 16, 32)
    # Each gate and each value is a channel of x, as it is.
    pointwise = torch.cat((torch.eye(16), torch.eye(16)))[:, :, None, None]
    depthwise = torch.zeros(32, 1, 3, 3)
    depthwise[:, :, 1, 1] = 1
    x = torch.tensor([-200.0, -40, -13, -6, -3, -1, -1e-3, -1e-30, 0, 1e-30, 1e-3, 1, 3, 6, 13, 200]).view(1, 1, 1, 16)
    inputs = inputs._replace(x=x, pointwise=pointwise, depthwise=depthwise, projection=torch.eye(16)[:, :, None, None])
    expected = x.double() + torch.nn.functional.gelu(x.double()) * x.double()
    torch.testing.assert_close(inputs.value().double(), expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    "refused",
    [
        separable_conv("gated", (1, 2, 2), 24, 96),
        separable_conv("gated", (1, 2, 2), 16, 48),
        separable_conv("plain", (1, 2, 2), 144, 32),
        separable_conv("plain", (0, 2, 2), 16, 32),
        SeparableConv(*(t if t is None else t.double() for t in separable_conv("gated", (1, 2, 2), 16, 32))),
    ],
    ids=["channels", "gates", "too many channels", "no pixels", "double precision"],
)
def test_what_the_code_does_not_serve(refused: SeparableConv) -> None:
    assert not refused.is_served()


def test_nothing_is_served_once_it_is_switched_off() -> None:
    inputs = separable_conv("gated", (1, 2, 2), 16, 32)
    assert inputs.is_served()
    configure(compile=False)
    assert not inputs.is_served()
