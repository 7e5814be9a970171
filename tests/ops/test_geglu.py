"""gelu(gate) · value and its derivatives against their definition, in all rows and in some."""

from __future__ import annotations

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, assert_near, leaves, random

from refusion.ops.autodiff import jvp
from refusion.ops.geglu import (
    SavedGeglu,
    geglu,
    jvp_formula,
    value_formula,
    vjp_formula,
    vjp_of_jvp_formula,
)

ALL = slice(None)
ROWS = pytest.mark.parametrize("rows", [ALL, slice(0, 2), slice(1, 4), slice(3, 5), slice(2, None)], ids=str)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(10)


@ROWS
@pytest.mark.usefixtures("eager_and_inductor")
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, rows: slice) -> None:
    check(lambda x: geglu(x, rows), lambda x: reference_ops.geglu(x)[:, rows], random((2, 5, 4, 8)))


@ROWS
@pytest.mark.usefixtures("eager_and_inductor")
def test_vjp_without_a_graph(rows: slice) -> None:
    (x,) = random((2, 5, 4, 8))
    (held,) = leaves([x])
    out = reference_ops.geglu(held)[:, rows]
    (grad,) = random(out.shape)
    saved = SavedGeglu.of(x, rows)
    assert_near([saved.value()], [out])
    assert_near([saved.vjp(grad)], torch.autograd.grad(out, held, grad))


@pytest.mark.usefixtures("eager_and_inductor")
def test_other_rows_get_no_gradient() -> None:
    held, tangent = leaves(random((2, 5, 4, 8), (2, 5, 4, 8)))
    rows = slice(1, 4)
    found = [*torch.autograd.grad(geglu(held, rows).sum(), held)]
    out_tangent = jvp(lambda x: geglu(x, rows), [held], [tangent])
    found += torch.autograd.grad(out_tangent, [held, tangent], random(out_tangent[0].shape, out_tangent[0].shape))
    for grad in found:
        assert grad[:, rows].all()
        assert not grad[:, :1].any() and not grad[:, 4:].any()


@pytest.mark.usefixtures("eager_and_inductor")
def test_far_gates_neither_overflow_nor_lose_their_gradient() -> None:
    x = torch.tensor([[[[40.0, 3.0]], [[-40.0, 3.0]]]], dtype=torch.float64, requires_grad=True)
    value, tangent = jvp(geglu, [x], [torch.ones_like(x)])
    assert value.flatten().tolist() == [120.0, 0.0]
    assert tangent.flatten().tolist() == [43.0, 0.0]
    (grad,) = torch.autograd.grad(tangent.sum(), x)
    assert grad.flatten().tolist() == [1.0, 1.0, 0.0, 0.0]


def test_formulas_of_value_and_vjp() -> None:
    (x,) = leaves(random((7, 8)))
    product = reference_ops.geglu(x)
    (grad,) = random(product.shape)
    assert_near(value_formula(x), [product])
    assert_near(vjp_formula(grad, x), torch.autograd.grad(product, x, grad))


def test_formulas_of_jvp_and_its_vjp() -> None:
    x, dx = leaves(random((7, 8), (7, 8)))
    product, out_tangent = torch.autograd.functional.jvp(reference_ops.geglu, x, dx, create_graph=True)
    (grad,) = random(out_tangent.shape)
    assert_near(jvp_formula(x, dx), [product, out_tangent])
    assert_near(vjp_of_jvp_formula(grad, x, dx), torch.autograd.grad(out_tangent, [x, dx], grad))
