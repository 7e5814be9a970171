"""The Triton kernel and its derivatives against PyTorch's convolution, on a GPU or by Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import reference_ops
import torch
from derivative_checks import CHECKS, Check, leaves, random
from meta_checks import flat, images, new_state, relative_error

from refusion.meta.phases import fusion_update, meta_iteration, meta_iteration_on_image
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss
from refusion.ops import backend, convolutions
from refusion.ops.backend import configure
from refusion.ops.feed_forward import gated_feed_forward

SHAPES = [(2, 5, 4, 8), (1, 1, 1, 3), (2, 5, 7, 70), (2, 6, 1, 16), (1, 12, 9, 5)]
# Relative to the largest number: of sums in float32, and of results that are rounded to bfloat16.
NEAR = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
    pytest.importorskip("triton")
    import refusion.ops.kernels.depthwise as module

    torch.manual_seed(3)
    return module


@pytest.fixture
def calls(kernel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Gives what is asked of the kernel; convolutions on the CPU are led to it, where PyTorch computes in its place."""
    found = []

    def launch(
        source: torch.Tensor, weight: torch.Tensor | None, centre: torch.Tensor | None, reverse: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found.append("sums" if weight is None else "both" if centre is not None else "value")
        out = total = source
        if weight is not None:
            out = reference_ops.conv(source, weight.flip(2, 3) if reverse else weight).contiguous()
        if centre is not None:
            assert reverse
            leaf = torch.zeros(source.shape[3], 1, 3, 3, dtype=source.dtype, requires_grad=True)
            with torch.enable_grad():
                (total,) = torch.autograd.grad(reference_ops.conv(centre.detach(), leaf), leaf, source.detach())
        return out, total

    monkeypatch.setattr(kernel, "_launch", launch)
    monkeypatch.setattr(kernel, "serves", lambda *_: True)
    monkeypatch.setattr(convolutions, "runs_triton", lambda _: True)
    yield found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", NEAR, ids=str)
def test_value_and_gradients(kernel: ModuleType, shape: tuple[int, ...], kind: torch.dtype) -> None:
    check_launches(kernel, shape, kind, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (4, 64, 64, 254), (8, 96, 96, 96)], ids=str)
@pytest.mark.parametrize("kind", NEAR, ids=str)
def test_value_and_gradients_on_a_gpu(kernel: ModuleType, shape: tuple[int, ...], kind: torch.dtype) -> None:
    check_launches(kernel, shape, kind, "cuda")


def check_launches(kernel: ModuleType, shape: tuple[int, ...], kind: torch.dtype, device: str) -> None:
    if device == "cpu" and torch.cuda.is_available():
        pytest.skip("compiled for the GPU")
    x, grad, weight = (one.to(device, kind) for one in random(shape, shape, (shape[3], 1, 3, 3)))
    held = leaves([x.double(), weight.double()])
    out = reference_ops.conv(*held)
    grad_x, grad_weight = torch.autograd.grad(out, held, grad.double())
    other_order = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    pairs = [
        (kernel.convolve(x, weight), out),
        (kernel.convolve(other_order, weight), out),
        *zip(kernel.convolve_vjp(grad, x, weight, True), (grad_x, grad_weight), strict=True),
        (kernel.convolve_vjp(grad, x, weight, False)[0], grad_x),
        (kernel._Sums.apply(grad, other_order), grad_weight),
    ]
    for position, (found, expected) in enumerate(pairs):
        assert found.dtype == kind
        assert found.shape == expected.shape
        difference = (found.double() - expected).abs().max().item()
        assert difference <= NEAR[kind] * expected.abs().max().item(), f"{position}: {difference:.2e}"
    again = kernel.convolve_vjp(grad, x, weight, True)
    assert torch.equal(again[1], kernel.convolve_vjp(grad, x, weight, True)[1])


@pytest.mark.parametrize("check", CHECKS)
def test_derivatives_of_every_order(check: Check, calls: list[str]) -> None:
    check(convolutions.depthwise_conv, reference_ops.conv, random((2, 5, 4, 8), (8, 1, 3, 3)))
    assert calls


def test_a_feed_forward_network_goes_through_it_forward_and_backward(calls: list[str]) -> None:
    shapes = (2, 5, 4, 8), (12, 8, 1, 1), (12, 1, 3, 3), (8, 6, 1, 1)
    x, *weights = (one.requires_grad_() for one in random(*shapes))
    out = gated_feed_forward(x, *weights)
    assert calls == ["value"]
    out.sum().backward()
    assert calls == ["value", "both"]
    with torch.no_grad():
        gated_feed_forward(x, *weights)
    assert calls == ["value", "both", "value"]


@pytest.mark.parametrize("check", CHECKS)
def test_a_feed_forward_network(check: Check, calls: list[str]) -> None:
    shapes = (2, 5, 4, 8), (12, 8, 1, 1), (12, 1, 3, 3), (8, 6, 1, 1)
    check(gated_feed_forward, reference_ops.gated_feed_forward, random(*shapes))
    assert calls


def update(state: TrainingState) -> None:
    fusion_update(state, images(1, 2), rate=1e-3, loss=FusionLoss())


def step_on_image(state: TrainingState) -> None:
    meta_iteration_on_image(state, images(1, 2), inner_rates=[0.5], outer_rate=1e-2, loss=FusionLoss())


def step_on_parameters(state: TrainingState) -> None:
    batches = images(1, 1, 2), images(2, 2)
    meta_iteration(state, *batches, inner_rates=[0.5], outer_rate=1e-2, loss=FusionLoss())


@pytest.mark.parametrize("step", [update, step_on_image, step_on_parameters])
def test_all_depthwise_convolutions_of_a_step_go_through_it(
    step: Callable[[TrainingState], None], calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    here, there = new_state(), new_state()
    for mine, theirs in zip(here.modules().values(), there.modules().values(), strict=True):
        theirs.load_state_dict(mine.state_dict())
    step(here)
    assert {"value", "both"} <= set(calls)
    monkeypatch.setattr(convolutions, "runs_triton", lambda _: False)
    counted = len(calls)
    step(there)
    assert len(calls) == counted
    mine, theirs = (
        [p.detach() for module in state.modules().values() for p in module.parameters()] for state in (here, there)
    )
    assert flat(mine).dtype == torch.float64
    assert relative_error(mine, theirs) < 1e-9


def test_maps_on_a_cpu_and_those_of_other_types_are_left_to_pytorch(kernel: ModuleType) -> None:
    x, weight = random((2, 5, 4, 8), (8, 1, 3, 3))
    assert not backend.runs_triton(x.float())
    assert not kernel.serves(x, weight)
    assert not kernel.serves(x.float(), weight.bfloat16())
    assert not kernel.serves(x[:0].float(), weight.float())


@pytest.mark.gpu
def test_on_a_gpu_it_is_taken_unless_told_not_to(kernel: ModuleType) -> None:
    x = torch.ones(1, 2, 2, 1, device="cuda")
    assert backend.runs_triton(x)
    with configure("cuda", gpu_kernels=False):
        assert not backend.runs_triton(x)
    assert backend.runs_triton(x)
