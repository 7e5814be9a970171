"""Further rewards to audit, as --reward candidate_rewards:FUNCTION: variations on the salient reward.

Each takes rebuilt and true sources, both (B, 2, H, W) in [0, 1], and returns a scalar: the lower, the better the fused
picture that the sources were rebuilt from. Sobel repeats the border in all of them.
"""

from __future__ import annotations

from torch import Tensor

from refusion.objectives import image_gradient, sobel
from refusion.rewards import blur, gradient_error, saliency


def zero_padded_error(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The salient reward with zeros around the pictures in its gradient term, though not in its saliency.

    An error of brightness counts sixteen-fold at the border, from which R learns brightness in few steps.
    """
    gradient = (image_gradient(sources) - image_gradient(rebuilt)).square()
    return _mean(saliency(sources), (sources - rebuilt).square() + gradient)


def blended(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """Contrast for four fifths, brightness for one: between `gradient_only` and `zero_padded_error`."""
    return 0.8 * gradient_only(rebuilt, sources) + 0.2 * zero_padded_error(rebuilt, sources)


def brighter(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The salient reward with its intensity term eightfold, from which R learns brightness in few steps."""
    return _mean(saliency(sources), 8 * (sources - rebuilt).square() + gradient_error(rebuilt, sources))


def gradient_only(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The gradient term of the salient reward alone: R need not know brightness, only contrast.

    mean(Σ_s c_s (G(s) − G(ŝ))²), c the saliency.
    """
    return _mean(saliency(sources), gradient_error(rebuilt, sources))


def signed_gradient(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The same of signed Sobel responses, x and y by themselves, so that direction counts."""
    x, y = sobel(sources - rebuilt, "replicate")
    return _mean(saliency(sources), x.square() + y.square())


def local_mean_free(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The salient reward with the intensity error less its own local mean (Gaussian, 4 px)."""
    error = sources - rebuilt
    detail = error - blur(error, 4.0)
    return _mean(saliency(sources), detail.square() + gradient_error(rebuilt, sources))


def sharper(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The salient reward with the saliency's energies to the fourth power in the place of the second."""
    ratios = saliency(sources).square()
    weights = ratios / ratios.sum(dim=1, keepdim=True)
    return _mean(weights, (sources - rebuilt).square() + gradient_error(rebuilt, sources))


def normalised(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """Gradient error over the local energy of the source of larger gradients: relative, as Qabf's ratios are."""
    energy = blur(image_gradient(sources, "replicate").square(), 2.0).amax(dim=1, keepdim=True)
    return _mean(saliency(sources), gradient_error(rebuilt, sources) / (energy + 1e-2))


def _mean(weights: Tensor, error: Tensor) -> Tensor:
    return (weights * error).sum(dim=1).mean()
