"""Further rewards to audit, named by --reward candidate_rewards:FUNCTION; the lower, the better the fused picture.

Each takes rebuilt and true sources, both (B, 2, H, W) in [0, 1], and returns a scalar.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from refusion.objectives import sobel

_FLOOR = 1e-4


def blur(z: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of each channel, border repeated: (B, C, H, W) to the same shape."""
    radius = max(1, round(3 * sigma))
    steps = torch.arange(-radius, radius + 1, dtype=z.dtype, device=z.device)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    planes = F.pad(z.flatten(0, 1).unsqueeze(1), (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).view(z.shape)


def inner_sobel(z: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel responses with the border repeated, so that the border is no edge."""
    padded = F.pad(z, (1, 1, 1, 1), mode="replicate")
    x, y = sobel(padded)
    return x[..., 1:-1, 1:-1], y[..., 1:-1, 1:-1]


def inner_gradient(z: Tensor) -> Tensor:
    x, y = inner_sobel(z)
    return x.abs() + y.abs()


def weights(sources: Tensor, sigma: float = 2.0, power: float = 2.0) -> Tensor:
    """Saliency without the border's edge: E^power / sum."""
    energy = (blur(inner_gradient(sources).square(), sigma) + _FLOOR).pow(power)
    return energy / energy.sum(dim=1, keepdim=True)


def _weighted(c: Tensor, error: Tensor) -> Tensor:
    return (c * error).sum(dim=1).mean()


def borderless(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The salient reward with the border repeated in all Sobel filters."""
    g = (inner_gradient(sources) - inner_gradient(rebuilt)).square()
    return _weighted(weights(sources), (sources - rebuilt).square() + g)


def gradient_only(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The gradient term of the salient reward alone."""
    return _weighted(weights(sources), (inner_gradient(sources) - inner_gradient(rebuilt)).square())


def signed_gradient(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """Gradient term alone, of signed Sobel responses."""
    c = weights(sources)
    return sum(
        (_weighted(c, (s - r).square()) for s, r in zip(inner_sobel(sources), inner_sobel(rebuilt), strict=True)),
        torch.zeros((), device=sources.device, dtype=sources.dtype),
    )


def local_mean_free(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The salient reward of what is left of both without their local means (sigma 4 px)."""
    error = sources - rebuilt
    detail = error - blur(error, 4.0)
    g = (inner_gradient(sources) - inner_gradient(rebuilt)).square()
    return _weighted(weights(sources), detail.square() + g)


def sharper(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """Borderless with saliency to the fourth power."""
    g = (inner_gradient(sources) - inner_gradient(rebuilt)).square()
    return _weighted(weights(sources, power=4.0), (sources - rebuilt).square() + g)


def normalised(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """Gradient error relative to the local gradient energy of the more salient source, as Qabf's ratios are."""
    energy = blur(inner_gradient(sources).square(), 2.0)
    scale = energy.amax(dim=1, keepdim=True) + 1e-2
    g = (inner_gradient(sources) - inner_gradient(rebuilt)).square()
    return _weighted(weights(sources), g / scale)


def normalised_both(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """The same, and the intensity's local-mean-free error by the local variance."""
    energy = blur(inner_gradient(sources).square(), 2.0)
    scale = energy.amax(dim=1, keepdim=True) + 1e-2
    error = sources - rebuilt
    detail = error - blur(error, 2.0)
    g = (inner_gradient(sources) - inner_gradient(rebuilt)).square()
    return _weighted(weights(sources), (g + 16 * detail.square()) / scale)


def relative(rebuilt: Tensor, sources: Tensor) -> Tensor:
    """Borderless divided by the local energy: intensity, too, counts by what is at stake."""
    energy = blur(inner_gradient(sources).square(), 2.0)
    scale = energy.amax(dim=1, keepdim=True) + 1e-2
    g = (inner_gradient(sources) - inner_gradient(rebuilt)).square()
    return _weighted(weights(sources), ((sources - rebuilt).square() + g) / scale)
