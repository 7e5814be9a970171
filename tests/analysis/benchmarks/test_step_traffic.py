from __future__ import annotations

import pytest
import torch
from step_traffic import bytes_moved

ELEMENTS = 1000
ONE = 4 * ELEMENTS


@pytest.fixture
def x() -> torch.Tensor:
    return torch.ones(10, 100)


def test_an_operation_reads_what_goes_in_and_writes_what_comes_out(x: torch.Tensor) -> None:
    assert bytes_moved(lambda: x + x) == 3 * ONE
    assert bytes_moved(lambda: x.sum()) == ONE + 4
    assert bytes_moved(lambda: x @ x.T) == 2 * ONE + 4 * 100
    assert bytes_moved(lambda: torch.cat([x, x, x])) == 6 * ONE


def test_operations_in_place(x: torch.Tensor) -> None:
    assert bytes_moved(lambda: x.add_(1)) == 2 * ONE
    assert bytes_moved(lambda: x.zero_()) == ONE
    assert bytes_moved(lambda: x.copy_(x.clone())) == 2 * ONE + 2 * ONE
    assert bytes_moved(lambda: torch._foreach_add_([x, x], [x, x])) == 6 * ONE


def test_views_allocations_and_questions_move_nothing(x: torch.Tensor) -> None:
    assert bytes_moved(lambda: x.view(-1).view(100, 10).transpose(0, 1)[2:, :5].detach()) == 0
    assert bytes_moved(lambda: torch.empty_like(x).new_empty(7)) == 0
    assert bytes_moved(lambda: x.is_same_size(x)) == 0
    assert bytes_moved(lambda: torch.zeros_like(x)) == ONE


def test_expanded_tensors_are_as_large_as_their_memory(x: torch.Tensor) -> None:
    row = torch.ones(1, 100)
    assert bytes_moved(lambda: x + row.expand(10, 100)) == 2 * ONE + 400


def test_both_passes_and_forward_mode_are_seen(x: torch.Tensor) -> None:
    leaf = x.clone().requires_grad_()
    there = bytes_moved(lambda: leaf.exp())
    assert there == 2 * ONE
    # Back: the sum's gradient is an expanded number; times exp(x) it is the slope.
    back = bytes_moved(lambda: torch.autograd.grad(leaf.exp().sum(), leaf)) - bytes_moved(lambda: leaf.exp().sum())
    assert 2 * ONE <= back <= 2 * ONE + 16
    # Forward mode: exp(x), and its product with the direction.
    assert bytes_moved(lambda: torch.func.jvp(torch.exp, (x,), (x,))) == 2 * ONE + 3 * ONE
