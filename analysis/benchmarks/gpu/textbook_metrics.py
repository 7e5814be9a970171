"""Seven metrics as people write them in PyTorch, on whole images (B, 1, H, W) of float values 0–255, any device.

The same definitions as `refusion.metrics` has by default, one image's score after the other's in a (B,) tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Metric = Callable[[Tensor, Tensor, Tensor], Tensor]


def entropy(f: Tensor, a: Tensor, b: Tensor) -> Tensor:  # noqa: ARG001 - all take the same images
    """EN."""
    shares = torch.stack([torch.histc(image, 256, 0, 256) for image in f]) / f[0].numel()
    return -(shares * torch.log2(shares.clamp_min(1e-30))).sum(1)


def spatial_frequency(f: Tensor, a: Tensor, b: Tensor) -> Tensor:  # noqa: ARG001
    """SF."""
    return torch.sqrt((f.diff(dim=2) ** 2).mean((1, 2, 3)) + (f.diff(dim=3) ** 2).mean((1, 2, 3)))


def standard_deviation(f: Tensor, a: Tensor, b: Tensor) -> Tensor:  # noqa: ARG001
    """SD."""
    return f.std((1, 2, 3), unbiased=False)


def correlations_of_differences(f: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """SCD."""
    return _correlation(b, f - a) + _correlation(a, f - b)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = (image - image.mean((1, 2, 3), keepdim=True) for image in (x, y))
    return (x * y).sum((1, 2, 3)) / torch.sqrt((x**2).sum((1, 2, 3)) * (y**2).sum((1, 2, 3)))


def edge_preservation(f: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Qabf."""
    strength_f, angle_f = _edges(f)
    preserved = available = torch.zeros(len(f), dtype=f.dtype, device=f.device)
    for source in (a, b):
        strength, angle = _edges(source)
        low, high = torch.minimum(strength, strength_f), torch.maximum(strength, strength_f)
        relative = torch.where(strength == strength_f, strength_f, low / high)
        by_strength = 0.9994 / (1 + torch.exp(-15 * (relative - 0.5)))
        turned = 1 - (angle - angle_f).abs() / (math.pi / 2)
        by_angle = 0.9879 / (1 + torch.exp(-22 * (turned - 0.8)))
        preserved = preserved + (by_strength * by_angle * strength).sum((1, 2, 3))
        available = available + strength.sum((1, 2, 3))
    return preserved / available


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(image)
    kernels = torch.stack([across.flip(1), across.T.flip(1)])[:, None]
    both = functional.conv2d(image, kernels, padding=1)
    x, y = both[:, :1], both[:, 1:]
    angle = torch.where(x == 0, math.pi / 2, torch.atan(y / x))
    return torch.sqrt(x**2 + y**2), angle


def similarity(f: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """SSIM."""
    return torch.stack([_ssim(source, f) for source in (a, b)]).mean(0)


def _ssim(x: Tensor, y: Tensor, window: int = 7) -> Tensor:
    def mean(image: Tensor) -> Tensor:
        return functional.avg_pool2d(image, window, stride=1)

    unbiased = window**2 / (window**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy = unbiased * (mean(x * x) - mx * mx), unbiased * (mean(y * y) - my * my)
    vxy = unbiased * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return ratio.mean((1, 2, 3))


def information(f: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """VIF."""
    return torch.stack([_vif(source, f) for source in (a, b)]).mean(0)


def _vif(reference: Tensor, image: Tensor, noise: float = 2.0, tiny: float = 1e-10) -> Tensor:
    got = had = torch.zeros(len(image), dtype=image.dtype, device=image.device)
    for scale in range(1, 5):
        window = _gaussian(2 ** (5 - scale) + 1).to(image)
        if scale > 1:
            reference, image = (functional.conv2d(x, window)[..., ::2, ::2] for x in (reference, image))
        mr, mi = functional.conv2d(reference, window), functional.conv2d(image, window)
        vr = (functional.conv2d(reference * reference, window) - mr * mr).clamp_min(0)
        vi = (functional.conv2d(image * image, window) - mi * mi).clamp_min(0)
        both = functional.conv2d(reference * image, window) - mr * mi
        gain = both / (vr + tiny)
        rest = vi - gain * both
        flat, dead = vr < tiny, vi < tiny
        gain, rest = torch.where(flat | dead, 0.0, gain), torch.where(flat, vi, rest)
        vr, rest = torch.where(flat, 0.0, vr), torch.where(dead, 0.0, rest)
        rest = torch.where(gain < 0, vi, rest).clamp_min(tiny)
        gain = gain.clamp_min(0)
        got = got + torch.log10(1 + gain**2 * vr / (rest + noise)).sum((1, 2, 3))
        had = had + torch.log10(1 + vr / noise).sum((1, 2, 3))
    return got / had


def _gaussian(side: int) -> Tensor:
    x = torch.arange(side, dtype=torch.float64) - side // 2
    bell = torch.exp(-(x**2) / (2 * (side / 5) ** 2))
    window = bell[:, None] * bell
    return (window / window.sum())[None, None]


TEXTBOOK: dict[str, Metric] = {
    "EN": entropy,
    "SF": spatial_frequency,
    "SD": standard_deviation,
    "SCD": correlations_of_differences,
    "Qabf": edge_preservation,
    "SSIM": similarity,
    "VIF": information,
}
