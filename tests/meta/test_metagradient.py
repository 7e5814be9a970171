"""The meta-gradient: equal to autograd's, to finite differences, and without a trace in the modules."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import pytest
import torch
from meta_checks import RATES, flat, relative_error, setting
from torch import nn

import refusion.ops.fused_op as fused_op
from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.meta.metagradient import meta_gradient_along, unroll
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
from refusion.networks.reference import ReferenceFusionModule
from refusion.objectives import (
    FusionLoss,
    GradientTerm,
    fusion_loss,
    reconstruction_loss,
)
from refusion.ops.backend import configure

STEP = 1e-6


@pytest.mark.parametrize(
    ("steps", "gradient", "with_targets"), list(itertools.product((1, 2, 3), ("learned", "maxabs"), (False, True)))
)
def test_equals_autograd(steps: int, gradient: GradientTerm, with_targets: bool) -> None:
    given = setting(steps)
    targets = given.meta_test.flip(1) if with_targets else None
    ours = meta_gradient(*given, targets=targets, alpha=0.8, beta=0.4, gradient=gradient)
    for restricted in (False, True):
        reference = meta_gradient_by_autograd(
            *given, targets=targets, alpha=0.8, beta=0.4, gradient=gradient, restricted=restricted
        )
        assert flat(reference).norm() > 1e-6
        assert relative_error(ours, reference) < 1e-9


@pytest.mark.parametrize("steps", [1, 2])
def test_equals_autograd_for_a_mixture_of_the_sources(steps: int) -> None:
    given = setting(steps)._replace(fusion=FusionModule(4, 2, 1, output="mixture").double())
    assert relative_error(meta_gradient(*given), meta_gradient_by_autograd(*given)) < 1e-9


@pytest.mark.parametrize("steps", [2, 3])
def test_equals_autograd_for_modules_that_need_the_general_way(steps: int) -> None:
    given = setting(steps)
    plain = ReferenceFusionModule(4, 2, 1).double()
    plain.load_state_dict(given.fusion.state_dict())
    assert relative_error(meta_gradient(plain, *given[1:]), meta_gradient_by_autograd(*given)) < 1e-9


@pytest.mark.parametrize("steps", [1, 3])
def test_the_same_with_intermediate_results_recomputed(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(steps)
    saved = meta_gradient(*given)
    monkeypatch.setattr(fused_op, "pixels_at_once", lambda _on_cpu: 20)
    configure(compile=False, recompute=True)
    assert relative_error(meta_gradient(*given), saved) < 1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
@pytest.mark.parametrize("steps", [1, 3])
def test_the_same_with_inductor(steps: int) -> None:
    given = setting(steps)
    compiled = meta_gradient(*given)
    configure(compile=False)
    assert relative_error(compiled, meta_gradient(*given)) < 1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("steps", [1, 3])
def test_compiled_code_is_as_near_to_double_precision_as_rounding_lets_it(steps: int) -> None:
    torch.manual_seed(12)
    modules = FusionModule(16, 8, 1), LossProposalModule(16, 8, 1), ReconstructionModule(32, 8, 1)
    images = torch.rand(steps, 2, 2, 24, 20), torch.rand(2, 2, 20, 24)
    found = meta_gradient(*modules, *images, RATES[:steps])
    exactly = [module.double() for module in modules]
    expected = meta_gradient_by_autograd(*exactly, *(image.double() for image in images), RATES[:steps])
    assert 0 < relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("steps", [1, 2])
def test_targets_change_the_answer(steps: int) -> None:
    given = setting(steps)
    swapped = meta_gradient(*given, targets=given.meta_test.flip(1))
    assert relative_error(swapped, meta_gradient(*given)) > 1e-3
    assert relative_error(meta_gradient(*given, targets=given.meta_test), meta_gradient(*given)) == 0.0


@pytest.mark.parametrize(("steps", "gradient"), list(itertools.product((1, 3), ("learned", "maxabs"))))
def test_equals_finite_differences(steps: int, gradient: GradientTerm) -> None:
    given = setting(steps)
    proposal = list(given.loss_proposal.parameters())
    directions = [torch.randn_like(parameter) for parameter in proposal]

    def outer_loss(distance: float) -> float:
        """Plain SGD on copies, the loss proposal module moved along the directions."""
        moved, trained = copy.deepcopy(given.loss_proposal), copy.deepcopy(given.fusion)
        with torch.no_grad():
            for parameter, direction in zip(moved.parameters(), directions, strict=True):
                parameter += distance * direction
        for x, rate in zip(given.meta_train, given.inner_rates, strict=True):
            trained.zero_grad()
            fusion_loss(trained(x), x, moved(x), gradient=gradient).backward()
            torch.optim.SGD(trained.parameters(), lr=rate).step()
        return reconstruction_loss(given.reconstruction(trained(given.meta_test)), given.meta_test).item()

    measured = (outer_loss(STEP) - outer_loss(-STEP)) / (2 * STEP)
    gradients = meta_gradient(*given, gradient=gradient)
    derived = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
    assert derived == pytest.approx(measured, rel=1e-4)


def test_parameters_without_influence_get_zeros() -> None:
    given = setting(2)
    gradients = dict(
        zip(dict(given.loss_proposal.named_parameters()), meta_gradient(*given, gradient="maxabs"), strict=True)
    )
    assert not gradients["gradient.weight"].any()
    assert gradients["intensity.weight"].any()


def test_a_module_without_gradient_weights() -> None:
    given = setting(2, learn_gradient_weights=False)
    reference = meta_gradient_by_autograd(*given, gradient="maxabs")
    assert relative_error(meta_gradient(*given, gradient="maxabs"), reference) < 1e-9


def test_gradients_have_the_shapes_of_the_parameters() -> None:
    given = setting(1)
    shapes = [gradient.shape for gradient in meta_gradient(*given)]
    assert shapes == [parameter.shape for parameter in given.loss_proposal.parameters()]


class Watched(nn.Module):
    """A module with a buffer that every call in training mode changes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
        out: torch.Tensor = self.inner(x)
        return out


@pytest.mark.parametrize("grad_mode", [True, False])
def test_modules_stay_as_they_were(grad_mode: bool) -> None:
    given = setting(2)
    given = given._replace(fusion=Watched(given.fusion), reconstruction=given.reconstruction.eval())
    modules = given[:3]
    given.loss_proposal.requires_grad_(False)
    for parameter in given.fusion.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = [copy.deepcopy(module.state_dict()) for module in modules]
    grads = [parameter.grad.clone() for parameter in given.fusion.parameters() if parameter.grad is not None]
    with torch.set_grad_enabled(grad_mode):
        meta_gradient(*given)
        assert torch.is_grad_enabled() == grad_mode
    for module, state in zip(modules, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    for parameter, grad in zip(given.fusion.parameters(), grads, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, grad)
    for parameter in (*given.loss_proposal.parameters(), *given.reconstruction.parameters()):
        assert parameter.grad is None
    assert [module.training for module in modules] == [True, True, False]
    assert not any(parameter.requires_grad for parameter in given.loss_proposal.parameters())
    assert all(parameter.requires_grad for parameter in given.fusion.parameters())


def test_unroll_is_plain_gradient_descent() -> None:
    given = setting(3)
    trajectory = unroll(
        given.fusion, given.loss_proposal, given.meta_train, given.inner_rates, loss=FusionLoss(beta=0.4)
    )
    trained = copy.deepcopy(given.fusion)
    for k, (x, rate) in enumerate(zip(given.meta_train, given.inner_rates, strict=True)):
        fused = trained(x)
        loss = fusion_loss(fused, x, given.loss_proposal(x), beta=0.4)
        torch.testing.assert_close(trajectory.fused[k], fused.detach(), rtol=1e-12, atol=1e-14)
        assert trajectory.inner_losses[k].item() == pytest.approx(loss.item(), rel=1e-12)
        trained.zero_grad()
        loss.backward()
        torch.optim.SGD(trained.parameters(), lr=rate).step()
    assert len(trajectory.parameters) == 4
    final = flat([parameter.detach() for parameter in trained.parameters()])
    torch.testing.assert_close(trajectory.parameters[-1], final, rtol=1e-12, atol=1e-14)


def test_along_returns_the_outer_loss() -> None:
    given = setting(2)
    trajectory = unroll(given.fusion, given.loss_proposal, given.meta_train, given.inner_rates, loss=FusionLoss())
    gradients, outer_loss = meta_gradient_along(trajectory, *given, loss=FusionLoss())
    assert relative_error(gradients, meta_gradient(*given)) == 0.0
    trained = copy.deepcopy(given.fusion)
    nn.utils.vector_to_parameters(trajectory.parameters[-1], trained.parameters())
    expected = reconstruction_loss(given.reconstruction(trained(given.meta_test)), given.meta_test)
    assert outer_loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert not outer_loss.requires_grad


@pytest.mark.slow
def test_two_workers_agree_with_one_on_the_whole_batch() -> None:
    """Each vector that crosses workers is averaged, one more in each round, until both have averaged them all."""
    given = setting(3)
    halves = [
        given._replace(meta_train=given.meta_train[:, i : i + 1], meta_test=given.meta_test[i : i + 1]) for i in (0, 1)
    ]
    whole = meta_gradient(*given)
    averages: list[torch.Tensor] = []
    while True:
        recorded: list[list[torch.Tensor]] = [[], []]
        results = []
        for half, record in zip(halves, recorded, strict=True):
            turn = iter(averages)

            def average(
                vector: torch.Tensor,
                turn: Iterator[torch.Tensor] = turn,
                record: list[torch.Tensor] = record,
            ) -> torch.Tensor:
                assert vector.ndim == 1
                record.append(vector)
                return next(turn, vector)

            results.append(meta_gradient(*half, average=average))
        if len(averages) == len(recorded[0]):
            break
        position = len(averages)
        averages.append((recorded[0][position] + recorded[1][position]) / 2)
    # Three inner gradients, λ, two Hessian products, the meta-gradient.
    assert len(averages) == 7
    for result in results:
        assert relative_error(result, whole) < 1e-9


def test_float32_is_close_to_float64() -> None:
    given = setting(2)
    single = [
        value.float() if isinstance(value, (nn.Module, torch.Tensor)) else value for value in copy.deepcopy(given)
    ]
    assert relative_error([g.double() for g in meta_gradient(*single)], meta_gradient(*given)) < 1e-4  # type: ignore[arg-type]
