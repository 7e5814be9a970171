"""The fusion module: its size, its names, and that it takes images of any size."""

from __future__ import annotations

import pytest
import torch

from refusion.config.network import Output
from refusion.networks import FusionModule
from refusion.ops.autodiff import jvp


def test_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in FusionModule().parameters()) == 59_856


@pytest.mark.parametrize(("height", "width"), [(37, 53), (1, 1), (1, 9), (16, 16)])
def test_any_size(height: int, width: int) -> None:
    torch.manual_seed(0)
    fused = FusionModule()(torch.rand(2, 2, height, width))
    assert fused.shape == (2, 1, height, width)
    assert ((fused > 0) & (fused < 1)).all()


def test_the_sources_are_told_apart() -> None:
    torch.manual_seed(0)
    module, sources = FusionModule(8, 4, 1), torch.rand(1, 2, 9, 11)
    assert not torch.allclose(module(sources), module(sources.flip(1)), atol=1e-4)


def test_a_batch_is_fused_image_by_image() -> None:
    torch.manual_seed(0)
    module, sources = FusionModule(8, 4, 1), torch.rand(3, 2, 9, 11)
    alone = torch.cat([module(one) for one in sources.split(1)])
    torch.testing.assert_close(module(sources), alone, rtol=0, atol=1e-6)


def test_a_mixture_copies_either_source_or_adds_to_them() -> None:
    module = FusionModule(4, 2, 1, output="mixture")
    sources = torch.tensor([[[[0.0, 0.3]], [[1.0, 0.7]]]])
    shares = torch.tensor([[50.0, -50.0]])[None, None]
    none, much = torch.zeros_like(shares), torch.full_like(shares, 9.0)
    # A black pixel comes out half a grey level brighter.
    copied = module.image(torch.cat((shares, none), dim=1), sources, None)
    torch.testing.assert_close(copied, torch.tensor([[[[0.5 / 255, 0.7]]]]))
    halves = module.image(torch.cat((none, none), dim=1), sources, None)
    torch.testing.assert_close(halves, torch.tensor([[[[0.5, 0.5]]]]))
    assert (module.image(torch.cat((shares, much), dim=1), sources, None) > 0.9).all()


def test_shares_stay_as_found_in_training() -> None:
    torch.manual_seed(0)
    even, plain = (FusionModule(4, 2, 1, output="mixture", even_below=e) for e in (30.0, 0.0))
    plain.load_state_dict(even.state_dict(), strict=False)
    sources = torch.rand(1, 2, 9, 11)
    assert torch.equal(even.train()(sources), plain(sources))
    assert not torch.allclose(even.eval()(sources), plain(sources), atol=1e-3)


def test_shares_are_even_where_both_sources_are_flat() -> None:
    """Noise of 2 % counts for little beside a checkerboard's edges, in whichever source they are."""
    torch.manual_seed(0)
    flat = 0.5 + 0.02 * torch.randn(1, 1, 48, 96)
    edges = torch.where(torch.arange(96) % 8 < 4, 0.2, 0.8).expand(1, 1, 48, 96)
    # The left half of both is flat, the right half of b has edges.
    sources = torch.cat((flat, torch.where(torch.arange(96) < 48, flat.flip(2), edges)), dim=1)
    module = FusionModule(4, 2, 1, output="mixture", even_below=3 / 32)
    of_a = torch.cat((torch.full((1, 1, 48, 96), 40.0), torch.zeros(1, 1, 48, 96)), dim=1)
    fused = module.image(of_a, sources, module.trust(sources))
    torch.testing.assert_close(module.image(of_a, sources, None), sources[:, :1])
    average = sources.mean(dim=1, keepdim=True)
    left, right = (..., slice(0, 28)), (..., slice(68, 96))
    assert (fused - average)[left].abs().max() < 0.5 * (sources[:, :1] - average)[left].abs().max()
    assert fused[left].std() < 0.8 * sources[:, :1][left].std()
    torch.testing.assert_close(fused[right], sources[:, :1][right], rtol=0, atol=0.02)


@pytest.mark.parametrize(("output", "even_below"), [("image", 0.0), ("mixture", 0.0), ("mixture", 0.5)])
def test_derivatives_of_second_order_and_forward_mode_agree(output: Output, even_below: float) -> None:
    """The three ways in which training differentiates the module give one Hessian product."""
    torch.manual_seed(0)
    module = FusionModule(4, 2, 1, output=output, even_below=even_below).double().eval()
    sources = torch.rand(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(sources, requires_grad=False)

    def grad(x: torch.Tensor) -> torch.Tensor:
        held = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(module(held).square().sum(), held)
        return found

    value, tangent = jvp(module, [sources], [direction])
    (reverse_over_forward,) = torch.autograd.grad((2 * value * tangent).sum(), sources)
    (first,) = torch.autograd.grad(module(sources).square().sum(), sources, create_graph=True)
    (double_backward,) = torch.autograd.grad((first * direction).sum(), sources)
    step = 1e-5 * direction
    differences = (grad(sources + step) - grad(sources - step)) / 2e-5
    torch.testing.assert_close(reverse_over_forward, double_backward, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(reverse_over_forward, differences, rtol=1e-4, atol=1e-8)
