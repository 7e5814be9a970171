"""LayerNorm over channels and its derivatives against their definition, and its value against PyTorch's LayerNorm."""

from __future__ import annotations

import pytest
import reference_ops
import torch
import torch.nn.functional as F
from derivative_checks import (
    CHECKS,
    Check,
    assert_near,
    check_double_vjp,
    check_hessian_product,
    check_value,
    check_vjp,
    leaves,
    random,
)

from refusion.ops.autodiff import jvp
from refusion.ops.layer_norm import (
    SavedLayerNorm,
    jvp_formula,
    layer_norm,
    value_formula,
    vjp_of_jvp_formula,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(9)


@pytest.mark.usefixtures("eager_and_inductor")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("shape", [(2, 5, 4, 8), (7, 8)])
def test_value_and_derivatives(check: Check, shape: tuple[int, ...]) -> None:
    check(layer_norm, reference_ops.layer_norm, random(shape, (8,), (8,)))


@pytest.mark.parametrize("check", [check_value, check_vjp, check_double_vjp, check_hessian_product])
def test_pytorchs_layer_norm(check: Check) -> None:
    check(layer_norm, lambda x, weight, bias: F.layer_norm(x, (8,), weight, bias), random((2, 5, 4, 8), (8,), (8,)))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["x", "weight", "bias"])
def test_derivatives_in_one_argument(check: Check, which: int) -> None:
    inputs = random((2, 5, 4, 8), (8,), (8,))
    inputs[which].requires_grad_()
    check(layer_norm, reference_ops.layer_norm, inputs)


@pytest.mark.usefixtures("eager_and_inductor")
@pytest.mark.parametrize("check", CHECKS)
def test_a_view_of_channels_first(check: Check) -> None:
    x, weight, bias = random((2, 8, 5, 4), (8,), (8,))
    channels_last = x.permute(0, 2, 3, 1)
    assert not channels_last.is_contiguous()
    check(layer_norm, reference_ops.layer_norm, [channels_last, weight, bias])


@pytest.mark.usefixtures("eager_and_inductor")
def test_derivatives_without_a_graph() -> None:
    inputs = random((2, 5, 4, 8), (8,), (8,))
    held = leaves(inputs)
    out = reference_ops.layer_norm(*held)
    grad, *tangents = random(out.shape, *(tensor.shape for tensor in inputs))
    grad_x, grad_weight, grad_bias = torch.autograd.grad(out, held, grad)
    saved = SavedLayerNorm.of(*inputs)
    assert_near([saved.out], [out])
    assert_near(saved.vjp(grad), [grad_x, grad_weight, grad_bias])
    assert_near(saved.vjp(grad, (False, True)), [grad_x, None, grad_bias])
    assert_near(saved.vjp(grad, (True, False)), [grad_x, grad_weight, None])
    _, tangent = torch.autograd.functional.jvp(reference_ops.layer_norm, tuple(inputs), tuple(tangents))
    assert_near([saved.jvp(*tangents)], [tangent])


@pytest.mark.usefixtures("eager_and_inductor")
def test_equal_channels_are_finite() -> None:
    held = leaves([torch.ones(1, 2, 3, 8, dtype=torch.float64), *random((8,), (8,))])
    tangents = random(*(tensor.shape for tensor in held))
    value, tangent = jvp(layer_norm, held, tangents)
    assert_near([value], [held[2].expand_as(value)])
    for found in torch.autograd.grad([value, tangent], held, random(value.shape, value.shape)):
        assert torch.isfinite(found).all()


def test_formula_of_the_value() -> None:
    given = random((7, 8), (8,), (8,))
    out, mean, rstd = value_formula(*given)
    assert_near([out], [reference_ops.layer_norm(*given)])
    assert_near([mean, rstd], [given[0].mean(1, True), (given[0].var(1, correction=0, keepdim=True) + 1e-5).rsqrt()])


def test_formulas_of_jvp_and_its_vjp() -> None:
    held, tangents = leaves(random((7, 8), (8,), (8,))), leaves(random((7, 8), (8,), (8,)))
    _, out_tangent = torch.autograd.functional.jvp(
        reference_ops.layer_norm, tuple(held), tuple(tangents), create_graph=True
    )
    (grad,) = random(out_tangent.shape)
    x, weight, bias = held
    _, mean, rstd = value_formula(x, weight, bias)
    assert_near(jvp_formula(x, weight, mean, rstd, *tangents), [out_tangent])
    found = vjp_of_jvp_formula(grad, x, weight, mean, rstd, *tangents[:2])
    assert_near(found, torch.autograd.grad(out_tangent, [x, weight, *tangents], grad))
