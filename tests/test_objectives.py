"""The objectives against NumPy, term by term."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate

from refusion.errors import UserError
from refusion.objectives import (
    FusionLoss,
    FusionWeights,
    GradientTerm,
    fusion_loss,
    image_gradient,
    reconstruction_loss,
)

Image = NDArray[np.float64]
SOBEL_X = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel(z: Image) -> tuple[Image, Image]:
    return correlate(z, SOBEL_X, mode="constant"), correlate(z, SOBEL_X.T, mode="constant")


def gradient_of(z: Image) -> Image:
    x, y = sobel(z)
    return np.abs(x) + np.abs(y)


def batch(channels: int) -> torch.Tensor:
    return torch.rand(2, channels, 7, 9, dtype=torch.float64)


def proposed() -> FusionWeights:
    return FusionWeights(batch(2).softmax(dim=1), (3 * batch(2)).softmax(dim=1))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def mean_over_batch(term: object, *tensors: torch.Tensor) -> float:
    assert callable(term)
    return float(np.mean([term(*images) for images in zip(*(t.numpy() for t in tensors), strict=True)]))


def intensity_term(f: Image, s: Image, w: Image) -> float:
    return np.mean((w[0] * (s[0] - f[0])) ** 2) + np.mean((w[1] * (s[1] - f[0])) ** 2)


def linear_intensity_term(f: Image, s: Image, w: Image) -> float:
    return np.mean(w[0] * (s[0] - f[0]) ** 2) + np.mean(w[1] * (s[1] - f[0]) ** 2)


def signed_term(f: Image, s: Image, v: Image) -> float:
    def responses(z: Image) -> Image:
        return np.stack([correlate(z, kernel, mode="nearest") for kernel in (SOBEL_X, SOBEL_X.T)])

    return sum(float(np.mean(v[i] * np.abs(responses(s[i]) - responses(f[0])).sum(axis=0))) for i in (0, 1))


def learned_term(f: Image, s: Image, v: Image) -> float:
    return sum(np.mean((v[i] * (gradient_of(s[i]) - gradient_of(f[0]))) ** 2) for i in (0, 1))


def maxabs_term(f: Image, s: Image) -> float:
    total = 0.0
    for of_f, of_a, of_b in zip(sobel(f[0]), sobel(s[0]), sobel(s[1]), strict=True):
        total += np.mean(np.abs(of_f - np.where(np.abs(of_a) >= np.abs(of_b), of_a, of_b)))
    return total


def test_image_gradient() -> None:
    z = batch(2)
    expected = np.stack([[gradient_of(channel) for channel in image] for image in z.numpy()])
    np.testing.assert_allclose(image_gradient(z).numpy(), expected, rtol=1e-12, atol=1e-14)


def test_image_gradient_of_a_step() -> None:
    step = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 3)[None, None]
    assert image_gradient(step)[0, 0, 1].tolist() == [0.0, 4.0, 4.0, 4.0]


def test_fusion_loss_with_learned_gradient_weights() -> None:
    f, s, weights = batch(1), batch(2), proposed()
    assert weights.gradient is not None
    expected = 0.7 * mean_over_batch(intensity_term, f, s, weights.intensity)
    expected += 0.3 * mean_over_batch(learned_term, f, s, weights.gradient)
    loss = fusion_loss(f, s, weights, alpha=0.7, beta=0.3)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_fusion_loss_with_maxabs() -> None:
    f, s, weights = batch(1), batch(2), FusionWeights(proposed().intensity, None)
    expected = 0.7 * mean_over_batch(intensity_term, f, s, weights.intensity) + 0.3 * mean_over_batch(maxabs_term, f, s)
    loss = fusion_loss(f, s, weights, alpha=0.7, beta=0.3, gradient="maxabs")
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_fusion_loss_with_signed_gradients_and_linear_weights() -> None:
    f, s, weights = batch(1), batch(2), proposed()
    assert weights.gradient is not None
    expected = 0.7 * mean_over_batch(linear_intensity_term, f, s, weights.intensity)
    expected += 0.3 * mean_over_batch(signed_term, f, s, weights.gradient)
    loss = FusionLoss(0.7, 0.3, gradient="signed", weighting="linear")(f, s, weights)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_sign_of_a_gradient_counts_in_the_signed_term_alone() -> None:
    sources = batch(2)
    inverted = 1 - sources[:, :1]
    # Constant within, so that only inner pixels' magnitudes are compared.
    weights = FusionWeights(*[torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1).expand_as(sources)] * 2)
    signed = FusionLoss(alpha=0.0, gradient="signed")(inverted, sources, weights)
    upright = FusionLoss(alpha=0.0, gradient="signed")(sources[:, :1], sources, weights)
    assert upright.item() == 0
    assert signed.item() > 1


def test_fusion_loss_vanishes_where_the_counting_source_is_fused() -> None:
    a = batch(1)
    all_of_a = torch.cat((torch.ones_like(a), torch.zeros_like(a)), dim=1)
    sources = torch.cat((a, batch(1)), dim=1)
    assert fusion_loss(a, sources, FusionWeights(all_of_a, all_of_a)).item() == 0.0


def test_learned_term_without_learned_weights_is_refused() -> None:
    with pytest.raises(UserError, match="'learned'"):
        fusion_loss(batch(1), batch(2), FusionWeights(proposed().intensity, None))


def test_unknown_gradient_term_is_refused() -> None:
    with pytest.raises(UserError, match="'sobel'"):
        fusion_loss(batch(1), batch(2), proposed(), gradient="sobel")  # type: ignore[arg-type]


def test_reconstruction_loss() -> None:
    rebuilt, sources = batch(2), batch(2)

    def term(r: Image, s: Image) -> float:
        intensity = np.maximum(np.abs(s[0] - r[0]), np.abs(s[1] - r[1]))
        of_gradient = [np.abs(gradient_of(s[i]) - gradient_of(r[i])) for i in (0, 1)]
        return np.mean(intensity**2) + np.mean(np.maximum(*of_gradient) ** 2)

    loss = reconstruction_loss(rebuilt, sources)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(mean_over_batch(term, rebuilt, sources), rel=1e-12)


@pytest.mark.parametrize("gradient", ["learned", "maxabs"])
def test_the_loss_is_the_weighted_sum_of_its_terms(gradient: GradientTerm) -> None:
    loss, given = FusionLoss(0.7, 0.3, gradient), (batch(1), batch(2), proposed())
    intensity, gradients = loss.terms(*given)
    assert intensity.shape == gradients.shape == ()
    assert loss(*given).item() == pytest.approx(0.7 * intensity.item() + 0.3 * gradients.item(), rel=1e-12)
    assert torch.equal(loss(*given), fusion_loss(*given, alpha=0.7, beta=0.3, gradient=gradient))


def test_losses_with_the_same_settings_are_equal_and_cannot_be_changed() -> None:
    assert FusionLoss() == FusionLoss(1.0, 1.0, "learned") != FusionLoss(beta=0.5)
    with pytest.raises(AttributeError):
        FusionLoss().alpha = 2.0  # type: ignore[misc]
