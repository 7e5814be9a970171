"""The salient reward against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate, gaussian_filter

from refusion.rewards import detail_reward, saliency, salient_reward

Image = NDArray[np.float64]
SOBEL_X = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def gradient_of(z: Image) -> Image:
    return np.abs(correlate(z, SOBEL_X, mode="nearest")) + np.abs(correlate(z, SOBEL_X.T, mode="nearest"))


def weights_of(a: Image, b: Image) -> tuple[Image, Image]:
    energy = [gaussian_filter(gradient_of(s) ** 2, 2.0, mode="nearest", truncate=3.0) + 1e-4 for s in (a, b)]
    total = energy[0] ** 2 + energy[1] ** 2
    return energy[0] ** 2 / total, energy[1] ** 2 / total


def batch() -> torch.Tensor:
    # Source a has contrast at the left, b at the right.
    ramp = torch.linspace(0, 1, 19, dtype=torch.float64)
    return torch.rand(3, 2, 17, 19, dtype=torch.float64) * torch.stack((1 - ramp, ramp))[None, :, None]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def test_saliency() -> None:
    sources = batch()
    expected = np.stack([np.stack(weights_of(*pair)) for pair in sources.numpy()])
    np.testing.assert_allclose(saliency(sources).numpy(), expected, rtol=1e-10)
    assert expected[:, 0, :, 2].mean() > 0.9 > 0.1 > expected[:, 0, :, -3].mean()


def test_salient_reward() -> None:
    rebuilt, sources = torch.rand_like(batch()), batch()

    def term(r: Image, s: Image) -> float:
        return sum(
            np.mean(c * (s[i] - r[i]) ** 2) + np.mean(c * (gradient_of(s[i]) - gradient_of(r[i])) ** 2)
            for i, c in enumerate(weights_of(*s))
        )

    expected = np.mean([term(r, s) for r, s in zip(rebuilt.numpy(), sources.numpy(), strict=True)])
    reward = salient_reward(rebuilt, sources)
    assert reward.shape == ()
    assert reward.item() == pytest.approx(expected, rel=1e-10)


def test_the_detail_reward_has_a_quarter_of_the_salient_ones_intensity_term() -> None:
    rebuilt, sources = torch.rand_like(batch()), batch()
    intensity = (saliency(sources) * (sources - rebuilt).square()).sum(dim=1).mean()
    expected = salient_reward(rebuilt, sources) - 0.75 * intensity
    torch.testing.assert_close(detail_reward(rebuilt, sources), expected)
    assert detail_reward(sources + 0.2, sources).item() == pytest.approx(0.01)


def test_an_error_in_the_flat_source_hardly_counts() -> None:
    sources = torch.stack((torch.full((32, 32), 0.5), torch.rand(32, 32)))[None]
    # Away from the border, where zero padding gives the flat source an edge.
    weights = saliency(sources)[0, :, 12:-12, 12:-12]
    assert weights[0].max() < 0.01
    assert weights[1].min() > 0.99


def test_gradient_of_the_reward() -> None:
    sources = batch()[:1, :, :6, :6]
    assert torch.autograd.gradcheck(salient_reward, (torch.rand_like(sources).requires_grad_(), sources))
