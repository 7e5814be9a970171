"""Parts by compiled code, between autograd and forward mode: what is kept, and when PyTorch takes over."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from refusion.ops.autodiff import jvp
from refusion.ops.backend import configure
from refusion.ops.fused_op import Part, run
from refusion.ops.parts_by_rows import PartByRows, Slopes, Tensors


class Squares(PartByRows[torch.Tensor]):
    """x² · weight, noting what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def serves(self, inputs: Tensors) -> bool:
        return inputs[0].dtype == torch.float32

    def make(self, inputs: Tensors) -> torch.Tensor:
        self.asked.append("make")
        return inputs[0] ** 2

    def finish(self, inputs: Tensors, made: torch.Tensor) -> torch.Tensor:
        return made * inputs[1]

    def backward(self, inputs: Tensors, made: torch.Tensor, slope: torch.Tensor, wanted: Sequence[bool]) -> Slopes:
        self.asked.append("backward")
        return [slope * 2 * inputs[0] * inputs[1], (slope * made).sum(dim=(0, 1, 2))]

    def change(self, inputs: Tensors, changes: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked.append("change")
        (x, weight), (dx, dweight) = inputs, changes
        return x**2 * weight, 2 * x * dx * weight + x**2 * dweight

    def vjp_of_jvp(
        self, inputs: Tensors, changes: Tensors, slopes: Tensors, wanted: Sequence[bool]
    ) -> tuple[Slopes, Slopes]:
        self.asked.append("backward through change")
        (x, weight), (dx, dweight), (first, second) = inputs, changes, slopes
        of_x = 2 * (first * x * weight + second * (dx * weight + x * dweight))
        of_weight = first * x**2 + second * 2 * x * dx
        return [of_x, of_weight.sum(dim=(0, 1, 2))], [second * 2 * x * weight]


class Squared(Part[None]):
    """The same by PyTorch."""

    halo = 0

    def __init__(self) -> None:
        self.compiled = Squares()

    def __call__(self, inputs: Tensors, rows: slice) -> torch.Tensor:
        return inputs[0][:, rows] ** 2 * inputs[1]

    def make(self, inputs: Tensors, rows: slice) -> None:
        raise AssertionError("the compiled code serves")

    finish = backward = change = make  # type: ignore[assignment]


@pytest.fixture
def part() -> Squared:
    return Squared()


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    torch.manual_seed(2)
    return [torch.randn(2, 3, 4, 5).requires_grad_(), torch.randn(5).requires_grad_()]


def asked(part: Squared) -> list[str]:
    assert isinstance(part.compiled, Squares)
    return part.compiled.asked


def expected_slopes(inputs: list[torch.Tensor], slope: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(inputs[0] ** 2 * inputs[1], inputs, slope)


def test_what_is_made_is_kept_for_one_backward_pass(part: Squared, inputs: list[torch.Tensor]) -> None:
    out = run(part, inputs)
    slope = torch.randn_like(out)
    for _ in range(2):
        found = torch.autograd.grad(out, inputs, slope, retain_graph=True)
        torch.testing.assert_close(found, expected_slopes(inputs, slope))
    assert asked(part) == ["make", "backward", "make", "backward"]


def test_it_is_made_again_where_memory_is_short(part: Squared, inputs: list[torch.Tensor]) -> None:
    with configure(compile=False, recompute=True):
        out = run(part, inputs)
    slope = torch.randn_like(out)
    torch.testing.assert_close(torch.autograd.grad(out, inputs, slope), expected_slopes(inputs, slope))
    assert asked(part) == ["make", "make", "backward"]


def test_a_graph_of_the_slopes_goes_by_pytorch(part: Squared, inputs: list[torch.Tensor]) -> None:
    (first,) = torch.autograd.grad(run(part, inputs).sum(), inputs[:1], create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), inputs[:1])
    torch.testing.assert_close(second, (2 * inputs[1]).expand_as(second))
    assert asked(part) == ["make"]


def test_changes_and_the_slopes_through_them(part: Squared, inputs: list[torch.Tensor]) -> None:
    x, weight = inputs
    dx, dweight = torch.randn_like(x).requires_grad_(), torch.randn_like(weight)
    pair = jvp(lambda *given: run(part, given), [x, weight], [dx, dweight])
    plain = x**2 * weight, 2 * x * dx * weight + x**2 * dweight
    torch.testing.assert_close(pair, plain)
    slopes = [torch.randn_like(one) for one in pair]
    found = torch.autograd.grad(pair, [x, weight, dx], slopes)
    torch.testing.assert_close(found, torch.autograd.grad(plain, [x, weight, dx], slopes))
    assert asked(part) == ["change", "backward through change"]


def test_slopes_in_the_changes_of_parameters_go_by_pytorch(part: Squared, inputs: list[torch.Tensor]) -> None:
    x, weight = inputs
    dx, dweight = torch.randn_like(x), torch.randn_like(weight).requires_grad_()
    _, change = jvp(lambda *given: run(part, given), [x, weight], [dx, dweight])
    (found,) = torch.autograd.grad(change.sum(), [dweight])
    torch.testing.assert_close(found, (x**2).sum(dim=(0, 1, 2)))
    assert asked(part) == []


def test_a_change_of_the_maps_alone(part: Squared, inputs: list[torch.Tensor]) -> None:
    x, weight = (tensor.detach() for tensor in inputs)
    dx = torch.randn_like(x)
    _, change = jvp(lambda given: run(part, [given, weight]), [x], [dx])
    torch.testing.assert_close(change, 2 * x * dx * weight)
