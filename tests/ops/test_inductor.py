"""Kernels of Inductor give what their formulas give, whatever the size; without a compiler all runs as before."""

from __future__ import annotations

import shutil

import pytest
import torch
from derivative_checks import assert_near, random

from refusion.networks import FusionModule
from refusion.ops.backend import configure, runs_inductor
from refusion.ops.inductor import Kernel

Tensors = tuple[torch.Tensor, ...]


def formula(x: torch.Tensor, weight: torch.Tensor) -> Tensors:
    """A map as wide, one with one channel, and a sum over the pixels."""
    return torch.exp(x) * weight, x.mean(dim=1, keepdim=True), x.sum(dim=0)


def expected(x: torch.Tensor, weight: torch.Tensor) -> Tensors:
    return x.exp() * weight, x.mean(dim=3, keepdim=True), x.sum(dim=(0, 1, 2))


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_maps_keep_their_shape_and_sums_are_as_they_are() -> None:
    given = random((2, 3, 5, 4), (4,))
    assert_near(Kernel(formula)(*given), expected(*given))


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
@pytest.mark.parametrize("shape", [(1, 2, 1, 4), (1, 1, 1, 4), (3, 1, 1, 4)])
def test_few_pixels(shape: tuple[int, ...]) -> None:
    given = random(shape, (4,))
    found = Kernel(formula)(*given)
    assert_near([found[0]], [expected(*given)[0]])


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_some_rows_of_a_map() -> None:
    x, weight = random((2, 6, 5, 4), (4,))
    some = x[:, 1:4]
    assert not some.is_contiguous()
    assert_near(Kernel(formula)(some, weight), expected(some, weight))


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_all_sizes_share_one_kernel_and_each_number_of_channels_has_its_own() -> None:
    torch._dynamo.reset()
    traced = []

    def noting(x: torch.Tensor) -> Tensors:
        return (x * 2,)

    kernel = Kernel(noting)
    counted = torch._dynamo.utils.counters["stats"]
    for width, channels in [(4, 8), (5, 8), (64, 8), (4, 16), (9, 16)]:
        before = counted["unique_graphs"]
        (x,) = random((2, 3, width, channels))
        assert_near(kernel(x), [2 * x])
        traced.append(counted["unique_graphs"] - before)
    assert traced == [1, 0, 0, 1, 0]


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_results_have_no_graph() -> None:
    (x,) = random((2, 3, 5, 4))
    (found,) = Kernel(lambda x: (x * 2,))(x.requires_grad_())
    assert not found.requires_grad


def test_without_a_compiler_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def no_compiler() -> str:
        raise RuntimeError("No working C++ compiler found\nin three places")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", no_compiler)
    assert configure(compile="inductor").not_compiled == "No working C++ compiler found"
    assert not runs_inductor()


@pytest.mark.slow
def test_a_launcher_before_the_compiler_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setenv("CXX", f"ccache {compiler} -m64")
    with config.patch({"cpp.cxx": config.cpp.cxx}):
        assert configure(compile="inductor").not_compiled is None
        assert config.cpp.cxx == (None, compiler)


def test_a_compiler_that_fails_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Kernel, *__: torch.Tensor) -> Tensors:
        raise OSError("")

    monkeypatch.setattr(Kernel, "__call__", failing)
    assert configure(compile="inductor").not_compiled == "OSError"
    assert not runs_inductor()


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_a_whole_network_in_single_precision_is_the_same_within_rounding() -> None:
    torch.manual_seed(3)
    fusion = FusionModule(8, 2, 1)
    x, grad = torch.rand(2, 2, 24, 24), torch.randn(2, 1, 24, 24)

    def value_and_grads() -> torch.Tensor:
        fused = fusion(x)
        grads = torch.autograd.grad(fused, list(fusion.parameters()), grad)
        return torch.cat([fused.flatten(), *(one.flatten() for one in grads)]).detach()

    compiled = value_and_grads()
    configure(compile=False)
    eager = value_and_grads()
    assert 0 < (compiled - eager).norm() < 1e-5 * eager.norm()
