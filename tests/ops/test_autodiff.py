"""Forward-mode derivatives, alone and inside of others."""

from __future__ import annotations

import pytest
import torch
from derivative_checks import assert_near, random

from refusion.ops.autodiff import in_forward_mode, with_change


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


def cube(x: torch.Tensor) -> torch.Tensor:
    return x**3


def test_value_and_change() -> None:
    x, y, dx, dy = random((3,), (3,), (3,), (3,))
    value, change = with_change(lambda a, b: a.sin() * b, [x, y], [dx, dy])
    assert_near([value, change], [x.sin() * y, x.cos() * dx * y + x.sin() * dy])


def test_both_can_be_differentiated_backward() -> None:
    x, dx = random((3,), (3,))
    x.requires_grad_()
    dx.requires_grad_()
    value, change = with_change(cube, [x], [dx])
    assert_near(torch.autograd.grad(value.sum(), x, retain_graph=True), [3 * x**2])
    assert_near(torch.autograd.grad(change.sum(), [x, dx]), [6 * x * dx, 3 * x**2])


def test_it_is_known_inside_and_over_outside() -> None:
    seen = []

    def note(x: torch.Tensor) -> torch.Tensor:
        seen.append(in_forward_mode())
        return 2 * x

    x, dx = random((3,), (3,))
    assert not in_forward_mode()
    note(x)
    with_change(note, [x], [dx])
    assert seen == [False, True]
    assert not in_forward_mode()


def test_it_is_over_after_an_error() -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    x, dx = random((3,), (3,))
    with pytest.raises(ValueError, match="no"):
        with_change(fail, [x], [dx])
    assert not in_forward_mode()


def test_nested_use_joins_the_level() -> None:
    x, outer, inner = random((3,), (3,), (3,))
    found: list[torch.Tensor] = []

    def function(given: torch.Tensor) -> torch.Tensor:
        found.extend(with_change(cube, [given], [inner]))
        assert in_forward_mode()
        return given.sin()

    value, change = with_change(function, [x], [outer])
    assert_near(found, [x**3, 3 * x**2 * inner])
    assert_near([value, change], [x.sin(), x.cos() * outer])
    assert not in_forward_mode()


def test_a_change_carried_already_does_not_count_within() -> None:
    x, outer, inner = random((3,), (3,), (3,))
    _, change = with_change(lambda given: with_change(cube, [given], [inner])[0], [x], [outer])
    assert not change.any()


def test_what_does_not_depend_on_the_inputs_does_not_change() -> None:
    x, dx, other = random((3,), (3,), (2, 4))
    value, change = with_change(lambda _: 2 * other, [x], [dx])
    assert torch.equal(value, 2 * other)
    assert torch.equal(change, torch.zeros(2, 4, dtype=torch.float64))
