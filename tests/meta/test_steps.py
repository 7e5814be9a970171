from __future__ import annotations

import pytest
import torch
from meta_checks import changed, images, new_state, weights

from refusion.meta.functional import identity
from refusion.meta.steps import Step
from refusion.objectives import FusionLoss, reconstruction_loss


def step_of(on_image: bool) -> Step:
    return Step(FusionLoss(beta=0.5), reconstruction_loss, True, identity, 1, on_image)


@pytest.mark.parametrize("on_image", [False, True])
def test_the_meta_gradient_alone_is_the_one_that_a_meta_iteration_adds(on_image: bool) -> None:
    state, step, drawn = new_state(accumulate=3), step_of(on_image), images(1, 2, 2)
    before = weights(state)
    found = step.meta_gradient(state, drawn, None, 0.05)
    assert changed(state, before) == [] and state.outer.count == 0
    assert all(not total.any() for total in state.outer.sums)
    step.meta(state, drawn, None, 0.05, 1e-3)
    assert state.outer.count == 1
    assert float(found.norm()) > 0
    torch.testing.assert_close(found, state.outer.latest, rtol=0, atol=0)
    torch.testing.assert_close(found, torch.cat([total.flatten() for total in state.outer.sums]), rtol=0, atol=0)
