"""The textbook's epoch ends where ours ends: the same batches, float64, tiny modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import textbook
import torch
from torch import Tensor

from refusion.config.layers import check
from refusion.config.presets import read_preset
from refusion.config.settings import Settings
from refusion.meta import phases
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss

INNER_RATES = [0.3, 0.1]
OUTER_RATES = [2e-3, 1e-3, 5e-4]
RATES = [3e-3, 1e-3]


class Loop(NamedTuple):
    state: Any
    meta_iteration: Callable[..., dict[str, Tensor]]
    fusion_update: Callable[..., dict[str, Tensor]]


def settings(gradient: str = "learned", **outer: Any) -> Settings:
    return check(
        [
            read_preset("published"),
            {
                "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8, "start": "random"},
                "objective": {"gradient": gradient},
                "outer": {"accumulate": 2, **outer},
            },
        ]
    )


def both_methods(chosen: Settings) -> tuple[Loop, Loop]:
    state = TrainingState(chosen, "IVIF")
    for module in state.modules().values():
        module.double()
    # The sums were made before the modules became double.
    state.outer.sums = [total.double() for total in state.outer.sums]
    ours = Loop(state, phases.meta_iteration, phases.fusion_update)
    return ours, Loop(textbook.textbook_state(state, chosen), textbook.meta_iteration, textbook.fusion_update)


def parameters(state: Any) -> dict[str, Tensor]:
    modules = {"F": state.fusion, "P": state.loss_proposal, "R": state.reconstruction}
    return {
        name: torch.cat([p.detach().flatten().clone() for p in module.parameters()]) for name, module in modules.items()
    }


def run_epoch(loop: Loop, inner_steps: int, swap: bool, loss: FusionLoss, **told: Any) -> list[float]:
    """Three meta-iterations, each with its rate, then two fusion updates; the losses on the way."""
    draw = torch.Generator().manual_seed(5)

    def images(*lead: int) -> Tensor:
        return torch.rand(*lead, 2, 2, 12, 12, generator=draw, dtype=torch.float64)

    losses: list[float] = []
    for outer_rate in OUTER_RATES:
        found = loop.meta_iteration(
            loop.state,
            images(inner_steps),
            images(),
            inner_rates=INNER_RATES[:inner_steps],
            outer_rate=outer_rate,
            loss=loss,
            swap=swap,
            **told,
        )
        losses += [found["inner"].item(), found["outer"].item()]
    for rate in RATES:
        found = loop.fusion_update(loop.state, images(), rate=rate, loss=loss, swap=swap)
        losses += [found["fusion"].item(), found["reconstruction"].item()]
    return losses


def relative(change: Tensor, reference: Tensor) -> float:
    return ((change - reference).norm() / reference.norm()).item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inner_steps", "swap", "restricted"), [(1, True, False), (2, True, False), (2, False, False), (2, True, True)]
)
def test_an_epoch_ends_where_ours_ends(inner_steps: int, swap: bool, restricted: bool) -> None:
    ours, theirs = both_methods(settings())
    start = parameters(ours.state)
    loss = FusionLoss(alpha=0.8, beta=0.4)
    our_losses = run_epoch(ours, inner_steps, swap, loss)
    their_losses = run_epoch(theirs, inner_steps, swap, loss, restricted=restricted)
    assert their_losses == pytest.approx(our_losses, rel=1e-10)
    ours_now, theirs_now = parameters(ours.state), parameters(theirs.state)
    for name, before in start.items():
        change = ours_now[name] - before
        assert change.norm() > 1e-4
        assert relative(theirs_now[name] - before, change) < 1e-9, name


@pytest.mark.slow
def test_adam_as_the_outer_step_and_a_loss_proposal_without_gradient_weights() -> None:
    ours, theirs = both_methods(settings("maxabs", kind="adam", accumulate=1))
    start = parameters(ours.state)
    loss = FusionLoss(gradient="maxabs")
    run_epoch(ours, 1, True, loss)
    run_epoch(theirs, 1, True, loss)
    for name, before in start.items():
        change = parameters(ours.state)[name] - before
        assert change.norm() > 1e-4
        assert relative(parameters(theirs.state)[name] - before, change) < 1e-9, name


def test_a_meta_iteration_leaves_f_and_r() -> None:
    _, theirs = both_methods(settings(accumulate=1))
    start = parameters(theirs.state)
    images = torch.rand(1, 2, 2, 12, 12, dtype=torch.float64)
    theirs.meta_iteration(theirs.state, images, images[0], inner_rates=[0.1], outer_rate=1e-3, loss=FusionLoss())
    now = parameters(theirs.state)
    assert torch.equal(now["F"], start["F"])
    assert torch.equal(now["R"], start["R"])
    # A normalised step has the rate as its largest element.
    assert (now["P"] - start["P"]).abs().max().item() == pytest.approx(1e-3)


def test_the_textbook_state_has_its_own_weights_and_the_settings_optimisers() -> None:
    chosen = settings(kind="adam", accumulate=3)
    ours, theirs = both_methods(chosen)
    for name, vector in parameters(ours.state).items():
        assert torch.equal(vector, parameters(theirs.state)[name])
    with torch.no_grad():
        next(ours.state.fusion.parameters()).add_(1.0)
    assert not torch.equal(parameters(ours.state)["F"], parameters(theirs.state)["F"])
    assert theirs.state.outer.settings == chosen.outer
