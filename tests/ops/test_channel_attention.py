"""Attention among channels against its definition; blank images; streams that take each other's q."""

from __future__ import annotations

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, assert_near, leaves, random

from refusion.ops.autodiff import jvp
from refusion.ops.channel_attention import (
    SavedAttention,
    attention_matrix,
    qkv_attention,
    qkv_attention_jvp,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def streams(count: int) -> list[torch.Tensor]:
    """Inputs of streams: q, k and v of 8 channels, 4 heads, a projection to 6."""
    return random(*[(2, 3, 5, 24)] * count, *[(4, 1, 1)] * count, *[(6, 8)] * count)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("check", CHECKS)
def test_value_and_derivatives(check: Check, count: int) -> None:
    check(qkv_attention, reference_ops.qkv_attention, streams(count))


@pytest.mark.parametrize("count", [1, 2])
def test_derivatives_without_a_graph(count: int) -> None:
    inputs = streams(count)
    held = leaves(inputs)
    outs = qkv_attention(*held)
    grads, tangents = random(*(out.shape for out in outs)), random(*(tensor.shape for tensor in inputs))
    saved = SavedAttention.of(*inputs)
    assert_near(saved.values(), outs)
    assert_near(saved.vjp(grads), torch.autograd.grad(outs, held, grads))
    for stream, found in enumerate(qkv_attention_jvp(inputs, tangents)):
        assert_near(found, jvp(lambda *given, i=stream: qkv_attention(*given)[i], inputs, tangents))


def test_two_streams_take_each_others_q() -> None:
    held = leaves(streams(2))
    grads = [torch.autograd.grad(out.square().sum(), held[:2], retain_graph=True) for out in qkv_attention(*held)]
    for stream, (own, other) in enumerate([grads[0], grads[1][::-1]]):
        q, k, v = own.chunk(3, dim=3)
        assert not q.any() and k.any() and v.any(), stream
        q, k, v = other.chunk(3, dim=3)
        assert q.any() and not k.any() and not v.any(), stream


def test_a_blank_image_gives_zeros_and_finite_gradients() -> None:
    _, temperature, projection = streams(1)
    held = leaves([torch.zeros(1, 3, 5, 24, dtype=torch.float64), temperature, projection])
    (out,) = qkv_attention(*held)
    assert torch.equal(out, torch.zeros_like(out))
    grad = torch.randn_like(out)
    for found in torch.autograd.grad(out, held, grad, retain_graph=True):
        assert torch.isfinite(found).all()
    first = torch.autograd.grad(out, held, grad, create_graph=True)
    for found in torch.autograd.grad([one.sum() for one in first], held, allow_unused=True, materialize_grads=True):
        assert torch.isfinite(found).all()


def test_a_blank_image_in_forward_mode_is_finite() -> None:
    _, temperature, projection = streams(1)
    held = leaves([torch.zeros(1, 3, 5, 24, dtype=torch.float64), temperature, projection])
    tangents = random(*(tensor.shape for tensor in held))
    value, tangent = jvp(lambda *given: qkv_attention(*given)[0], held, tangents)
    assert torch.equal(value, torch.zeros_like(value))
    # At q = k = 0 all channels of a head count alike, and v's tangent passes.
    means = tangents[0][..., 16:].unflatten(3, (4, 2)).mean(dim=4, keepdim=True).expand(-1, -1, -1, -1, 2)
    assert_near([tangent], [means.flatten(3) @ projection.T])
    for found in torch.autograd.grad([value, tangent], held, random(value.shape, value.shape)):
        assert torch.isfinite(found).all()


def test_attention_is_a_softmax_within_each_head() -> None:
    cosines, temperature = random((2, 3, 2, 2), (3, 1, 1))
    heads = (cosines * temperature).softmax(dim=3)
    expected = torch.stack([torch.block_diag(*image) for image in heads])
    assert_near([attention_matrix(cosines, temperature)], [expected])


def test_a_large_temperature_does_not_overflow() -> None:
    cosines = torch.tensor([[[[1.0, -1.0], [0.5, 0.5]]]], dtype=torch.float64)
    attention = attention_matrix(cosines, torch.full((1, 1, 1), 1e4, dtype=torch.float64))
    assert attention.tolist() == [[[1.0, 0.0], [0.5, 0.5]]]


def test_large_images_are_the_same_by_way_of_normalised_maps() -> None:
    torch.manual_seed(4)
    inputs = (
        torch.randn(1, 130, 130, 12, dtype=torch.float64),
        torch.rand(2, 1, 1, dtype=torch.float64),
        torch.randn(3, 4, dtype=torch.float64),
    )
    (as_published,) = SavedAttention.of(*inputs).values()
    (by_sums,) = reference_ops.qkv_attention(*inputs)
    torch.testing.assert_close(as_published, by_sums, rtol=1e-10, atol=1e-12)
