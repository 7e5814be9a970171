from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from refusion.meta.signals import cosine, norm, weight_signals
from refusion.objectives import FusionWeights
from refusion.rewards import saliency


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_norm_and_cosine_hold_for_gradients_of_any_size(scale: float) -> None:
    one, other = drawn(50), drawn(50, seed=1)
    x, y = (vector.numpy().astype(np.float64) for vector in (one, other))
    expected = float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert float(cosine(scale * one, other)) == pytest.approx(expected, rel=1e-5)
    assert float(cosine(one, -2 * scale * one)) == pytest.approx(-1.0)
    assert float(norm(scale * one)) == pytest.approx(scale * np.linalg.norm(x), rel=1e-5)


def test_a_gradient_of_zero_has_no_direction() -> None:
    assert float(cosine(torch.zeros(3), torch.ones(3))) == 0.0
    assert float(norm(torch.zeros(3))) == 0.0


def pair(of_a: Tensor) -> Tensor:
    return torch.stack((of_a, 1 - of_a), dim=1)


def test_undecided_weights_carry_no_signal() -> None:
    half = torch.full((2, 2, 12, 10), 0.5)
    found = {
        name: float(value) for name, value in weight_signals(FusionWeights(half, None), drawn(2, 2, 12, 10)).items()
    }
    expected = dict.fromkeys(("w_spread", "w_saturated", "w_brighter", "w_salient"), 0.0)
    assert found == pytest.approx({"w_mean": 0.5, "w_entropy": 1.0} | expected)


def test_weights_that_follow_a_source_are_found_out() -> None:
    sources = drawn(3, 2, 20, 24)
    brighter = (sources[:, 0] > sources[:, 1]).float()
    salient = saliency(sources)
    found = weight_signals(FusionWeights(pair(brighter), salient), sources)
    assert float(found["w_saturated"]) == 1.0
    assert float(found["w_entropy"]) == 0.0
    assert float(found["w_brighter"]) > 0.8
    assert float(found["v_salient"]) == pytest.approx(1.0, abs=1e-5)
    expected = np.mean(
        [
            np.corrcoef((a - b).flatten(), c.flatten())[0, 1]
            for (a, b), c in zip(sources.numpy(), salient[:, 0].numpy(), strict=True)
        ]
    )
    assert float(found["v_brighter"]) == pytest.approx(expected, abs=1e-5)
    other = weight_signals(FusionWeights(pair(1 - brighter), None), sources)
    assert float(other["w_brighter"]) == pytest.approx(-float(found["w_brighter"]), abs=1e-6)


def test_moments_and_entropy_are_those_of_the_weights() -> None:
    of_a = torch.tensor([[0.25, 0.75], [0.995, 0.005]]).view(1, 2, 2)
    found = weight_signals(FusionWeights(pair(of_a), None), drawn(1, 2, 2, 2))
    entropies = [-(p * math.log2(p) + (1 - p) * math.log2(1 - p)) for p in of_a.flatten().tolist()]
    assert float(found["w_mean"]) == pytest.approx(0.5)
    assert float(found["w_spread"]) == pytest.approx(float(np.std(of_a.numpy())), rel=1e-5)
    assert float(found["w_entropy"]) == pytest.approx(np.mean(entropies), rel=1e-4)
    assert float(found["w_saturated"]) == 0.5


def test_the_mean_over_two_workers_is_that_of_the_global_batch() -> None:
    sources, of_a = drawn(4, 2, 16, 16), drawn(4, 16, 16, seed=2)
    whole = weight_signals(FusionWeights(pair(of_a), None), sources)
    parts = [
        weight_signals(FusionWeights(pair(of_a[part]), None), sources[part]) for part in (slice(0, 2), slice(2, 4))
    ]
    for name, value in whole.items():
        assert float(value) == pytest.approx(float(parts[0][name] + parts[1][name]) / 2, abs=1e-6)
