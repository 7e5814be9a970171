"""The channel norm and its derivatives against their definition, and its value against PyTorch's LayerNorm."""

from __future__ import annotations

import plain_layers
import pytest
import torch
import torch.nn.functional as F
from derivative_checks import (
    CHECKS,
    Check,
    assert_near,
    check_backward,
    check_double_backward,
    check_hessian_product,
    check_value,
    leaves,
    random,
)

from refusion.ops.autodiff import jvp
from refusion.ops.layer_norm import Normalised, channel_norm


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(9)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("shape", [(2, 5, 4, 8), (7, 8)])
def test_value_and_derivatives(check: Check, shape: tuple[int, ...]) -> None:
    check(channel_norm, plain_layers.norm, random(shape, (8,), (8,)))


@pytest.mark.parametrize("check", [check_value, check_backward, check_double_backward, check_hessian_product])
def test_pytorchs_layer_norm(check: Check) -> None:
    check(channel_norm, lambda x, weight, bias: F.layer_norm(x, (8,), weight, bias), random((2, 5, 4, 8), (8,), (8,)))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["x", "weight", "bias"])
def test_derivatives_in_one_argument(check: Check, which: int) -> None:
    inputs = random((2, 5, 4, 8), (8,), (8,))
    inputs[which].requires_grad_()
    check(channel_norm, plain_layers.norm, inputs)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("check", CHECKS)
def test_a_view_of_channels_first(check: Check) -> None:
    x, weight, bias = random((2, 8, 5, 4), (8,), (8,))
    channels_last = x.permute(0, 2, 3, 1)
    assert not channels_last.is_contiguous()
    check(channel_norm, plain_layers.norm, [channels_last, weight, bias])


@pytest.mark.usefixtures("loops")
def test_derivatives_without_a_graph() -> None:
    inputs = random((2, 5, 4, 8), (8,), (8,))
    held = leaves(inputs)
    out = plain_layers.norm(*held)
    slope, *changes = random(out.shape, *(tensor.shape for tensor in inputs))
    of_x, of_weight, of_bias = torch.autograd.grad(out, held, slope)
    normalised = Normalised.of(*inputs)
    assert_near([normalised.out], [out])
    assert_near(normalised.backward(slope), [of_x, of_weight, of_bias])
    assert_near(normalised.backward(slope, (False, True)), [of_x, None, of_bias])
    assert_near(normalised.backward(slope, (True, False)), [of_x, of_weight, None])
    _, change = torch.autograd.functional.jvp(plain_layers.norm, tuple(inputs), tuple(changes))
    assert_near([normalised.change(*changes)], [change])


@pytest.mark.usefixtures("loops")
def test_equal_channels_are_finite() -> None:
    held = leaves([torch.ones(1, 2, 3, 8, dtype=torch.float64), *random((8,), (8,))])
    changes = random(*(tensor.shape for tensor in held))
    value, change = jvp(channel_norm, held, changes)
    assert_near([value], [held[2].expand_as(value)])
    for found in torch.autograd.grad([value, change], held, random(value.shape, value.shape)):
        assert torch.isfinite(found).all()
