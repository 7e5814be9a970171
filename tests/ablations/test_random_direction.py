from __future__ import annotations

from typing import Any

import pytest
import torch

from refusion.ablations.random_direction import move_at_random, random_alike
from refusion.config.layers import check
from refusion.meta.state import TrainingState


def test_directions_are_random_and_as_long_as_those_given() -> None:
    given = [torch.full((400,), 0.1), torch.zeros(3)]
    drawn = random_alike(given, torch.Generator().manual_seed(0))
    assert [float(one.norm()) for one in drawn] == pytest.approx([2.0, 0.0])
    assert abs(float(torch.nn.functional.cosine_similarity(drawn[0], given[0], dim=0))) < 0.2


def test_each_meta_iteration_and_seed_has_a_direction_of_its_own_that_a_resume_repeats(tiny: dict[str, Any]) -> None:
    def sums(seed: int, step: int) -> torch.Tensor:
        state = TrainingState(check([tiny, {"outer": {"accumulate": 2}}]), "MFIF")
        move_at_random(state, seed)
        state.meta_steps = step
        assert not state.outer.add([torch.ones_like(one) for one in state.outer.parameters], 1e-3)
        return torch.cat([one.flatten() for one in state.outer.sums])

    assert torch.equal(sums(0, 5), sums(0, 5))
    assert not torch.equal(sums(0, 5), sums(0, 6))
    assert not torch.equal(sums(0, 5), sums(1, 5))
