"""gelu(gate) · value and its derivatives against their definition, in all rows and in some."""

from __future__ import annotations

import plain_layers
import pytest
import torch
from derivative_checks import CHECKS, Check, assert_near, leaves, random

from refusion.ops.autodiff import jvp
from refusion.ops.geglu import Gated, gated

ALL = slice(None)
ROWS = pytest.mark.parametrize("rows", [ALL, slice(0, 2), slice(1, 4), slice(3, 5), slice(2, None)], ids=str)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(10)


@ROWS
@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, rows: slice) -> None:
    check(lambda both: gated(both, rows), lambda both: plain_layers.gated(both)[:, rows], random((2, 5, 4, 8)))


@ROWS
@pytest.mark.usefixtures("loops")
def test_backward_without_a_graph(rows: slice) -> None:
    (both,) = random((2, 5, 4, 8))
    (held,) = leaves([both])
    out = plain_layers.gated(held)[:, rows]
    (slope,) = random(out.shape)
    made = Gated.of(both, rows)
    assert_near([made.result()], [out])
    assert_near([made.backward(slope)], torch.autograd.grad(out, held, slope))


@pytest.mark.usefixtures("loops")
def test_rows_that_are_not_wanted_get_no_slope() -> None:
    held, change = leaves(random((2, 5, 4, 8), (2, 5, 4, 8)))
    rows = slice(1, 4)
    found = [*torch.autograd.grad(gated(held, rows).sum(), held)]
    moved = jvp(lambda both: gated(both, rows), [held], [change])
    found += torch.autograd.grad(moved, [held, change], random(moved[0].shape, moved[0].shape))
    for slope in found:
        assert slope[:, rows].all()
        assert not slope[:, :1].any() and not slope[:, 4:].any()


@pytest.mark.usefixtures("loops")
def test_far_gates_neither_overflow_nor_lose_their_slope() -> None:
    both = torch.tensor([[[[40.0, 3.0]], [[-40.0, 3.0]]]], dtype=torch.float64, requires_grad=True)
    value, change = jvp(gated, [both], [torch.ones_like(both)])
    assert value.flatten().tolist() == [120.0, 0.0]
    assert change.flatten().tolist() == [43.0, 0.0]
    (slope,) = torch.autograd.grad(change.sum(), both)
    assert slope.flatten().tolist() == [1.0, 1.0, 0.0, 0.0]
