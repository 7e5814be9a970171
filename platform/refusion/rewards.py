"""Rewards: differentiable losses of the rebuilt sources, by which the loss proposal module learns.

The published one is `objectives.reconstruction_loss`. Those here let each source count where it is salient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from refusion.objectives import image_gradient

SALIENCY_SIGMA = 2.0
"""Standard deviation of the Gaussian that gathers squared gradients, px."""

# Where neither source has gradients, both count alike.
_FLOOR = 1e-4
_INTENSITY_OF_DETAIL = 0.25


def saliency(sources: torch.Tensor) -> torch.Tensor:
    """Share of each source in what is worth keeping, c_s = E_s² / (E_a² + E_b²), E_s = blur(G(s)²) + 1e-4.

    The blur is Gaussian, of standard deviation 2 px, cut off at 6 px. Sobel and blur repeat the border: with zeros
    around it, it would be the most salient place of all, and of the brighter source.

    Args:
        sources: (B, 2, H, W) in [0, 1].

    Returns:
        (B, 2, H, W) in (0, 1), summing to 1 over the two sources.

    Example:
        >>> import torch
        >>> flat = torch.zeros(1, 2, 8, 8)
        >>> saliency(flat).unique().tolist()
        [0.5]
    """
    energy = (blur(image_gradient(sources, "replicate").square(), SALIENCY_SIGMA) + _FLOOR).square()
    return energy / energy.sum(dim=1, keepdim=True)


def salient_reward(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Returns L = mean(Σ_s c_s (s − ŝ)²) + mean(Σ_s c_s (G(s) − G(ŝ))²), a scalar and a ``Reward``.

    Args:
        rebuilt, sources: (B, 2, H, W) in [0, 1]; the weights c are the ``saliency`` of the true sources.

    Example:
        >>> import torch
        >>> from refusion.rewards import salient_reward
        >>> sources = torch.rand(1, 2, 8, 8)
        >>> float(salient_reward(sources, sources))
        0.0
    """
    return (saliency(sources) * ((sources - rebuilt).square() + gradient_error(rebuilt, sources))).sum(dim=1).mean()


def detail_reward(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Returns L = mean(Σ_s c_s (G(s) − G(ŝ))²) + ¼ mean(Σ_s c_s (s − ŝ)²), a scalar and a ``Reward``.

    The salient reward with a quarter of its intensity term: enough for brightness to count, too little to decide.

    Args:
        rebuilt, sources: (B, 2, H, W) in [0, 1]; the weights c are the ``saliency`` of the true sources.

    Example:
        >>> import torch
        >>> from refusion.rewards import detail_reward
        >>> sources = torch.rand(1, 2, 8, 8)
        >>> round(float(detail_reward(sources + 0.1, sources)), 6)
        0.0025
    """
    intensity = _INTENSITY_OF_DETAIL * (sources - rebuilt).square()
    return (saliency(sources) * (intensity + gradient_error(rebuilt, sources))).sum(dim=1).mean()


def gradient_error(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Returns (G(s) − G(ŝ))² of each source, (B, 2, H, W), Sobel repeating the border."""
    return (image_gradient(sources, "replicate") - image_gradient(rebuilt, "replicate")).square()


def blur(z: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of each channel, cut off at three deviations, border repeated: (B, C, H, W), ``sigma`` in px."""
    radius = radius_of(sigma)
    steps = torch.arange(-radius, radius + 1, dtype=z.dtype, device=z.device)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    planes = F.pad(z.flatten(0, 1).unsqueeze(1), (radius,) * 4, mode="replicate")
    rows = F.conv2d(planes, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1)).view(z.shape)


def radius_of(sigma: float) -> int:
    """Pixels that `blur` reaches to each side."""
    return round(3 * sigma)
