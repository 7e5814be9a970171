"""Forward-mode derivatives, alone and inside of others; hand-written backward passes that can be differentiated."""

from __future__ import annotations

import pytest
import torch
from derivative_checks import assert_near, random

from refusion.ops.autodiff import differentiable_vjp, in_forward_mode, jvp


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


def cube(x: torch.Tensor) -> torch.Tensor:
    return x**3


def test_value_and_tangent() -> None:
    x, y, dx, dy = random((3,), (3,), (3,), (3,))
    value, tangent = jvp(lambda a, b: a.sin() * b, [x, y], [dx, dy])
    assert_near([value, tangent], [x.sin() * y, x.cos() * dx * y + x.sin() * dy])


def test_both_can_be_differentiated_backward() -> None:
    x, dx = random((3,), (3,))
    x.requires_grad_()
    dx.requires_grad_()
    value, tangent = jvp(cube, [x], [dx])
    assert_near(torch.autograd.grad(value.sum(), x, retain_graph=True), [3 * x**2])
    assert_near(torch.autograd.grad(tangent.sum(), [x, dx]), [6 * x * dx, 3 * x**2])


def test_it_is_known_inside_and_over_outside() -> None:
    seen = []

    def note(x: torch.Tensor) -> torch.Tensor:
        seen.append(in_forward_mode())
        return 2 * x

    x, dx = random((3,), (3,))
    assert not in_forward_mode()
    note(x)
    jvp(note, [x], [dx])
    assert seen == [False, True]
    assert not in_forward_mode()


def test_it_is_over_after_an_error() -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    x, dx = random((3,), (3,))
    with pytest.raises(ValueError, match="no"):
        jvp(fail, [x], [dx])
    assert not in_forward_mode()


def test_nested_use_joins_the_level() -> None:
    x, outer, inner = random((3,), (3,), (3,))
    found: list[torch.Tensor] = []

    def function(given: torch.Tensor) -> torch.Tensor:
        found.extend(jvp(cube, [given], [inner]))
        assert in_forward_mode()
        return given.sin()

    value, tangent = jvp(function, [x], [outer])
    assert_near(found, [x**3, 3 * x**2 * inner])
    assert_near([value, tangent], [x.sin(), x.cos() * outer])
    assert not in_forward_mode()


def test_a_tangent_carried_already_does_not_count_within() -> None:
    x, outer, inner = random((3,), (3,), (3,))
    _, tangent = jvp(lambda given: jvp(cube, [given], [inner])[0], [x], [outer])
    assert not tangent.any()


def test_the_tangent_of_what_does_not_depend_on_the_inputs_is_zero() -> None:
    x, dx, other = random((3,), (3,), (2, 4))
    value, tangent = jvp(lambda _: 2 * other, [x], [dx])
    assert torch.equal(value, 2 * other)
    assert torch.equal(tangent, torch.zeros(2, 4, dtype=torch.float64))


def test_a_vjp_can_be_differentiated_once_more() -> None:
    torch.manual_seed(12)
    x, grad = (tensor.requires_grad_() for tensor in random((4,), (4,)))
    with torch.no_grad():
        (first,) = differentiable_vjp(lambda given: given**3, [x], [grad])
    assert_near([first], [3 * x**2 * grad])
    assert_near(torch.autograd.grad(first.sum(), [x, grad]), [6 * x * grad, 3 * x**2])


def test_a_vjp_of_inputs_without_a_graph_and_several_outputs() -> None:
    torch.manual_seed(12)
    x, y, grad_product, grad_sum = random((4,), (4,), (4,), (4,))
    x.requires_grad_()
    found = differentiable_vjp(lambda a, b: (a * b, a + b), [x, y], [grad_product, grad_sum])
    assert_near(found, [grad_product * y + grad_sum, grad_product * x + grad_sum])
    assert not y.requires_grad
