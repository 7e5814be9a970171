"""The two objectives: the fusion loss, whose weights are learned, and the reconstruction loss.

Sources are always one tensor (B, 2, H, W) with a first, then b; all images are in [0, 1].

Source: ReFusion (arXiv 2312.07943), the fusion loss with learnable weights and the reconstruction loss; the variant
`gradient="maxabs"` is that of the follow-up TDFusion (CVPR 2025).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from refusion.errors import UserError

GradientTerm = Literal["learned", "maxabs"]


class FusionWeights(NamedTuple):
    """What the loss proposal module proposes: each (B, 2, H, W) in [0, 1], summing to 1 over the two sources."""

    intensity: torch.Tensor
    gradient: torch.Tensor | None


def sobel(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sobel responses in x and in y (3×3, zero padding) of each channel: (B, C, H, W) to two of the same shape."""
    x_kernel = z.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack((x_kernel, x_kernel.T)).unsqueeze(1)
    responses = F.conv2d(z.flatten(0, 1).unsqueeze(1), kernels, padding=1)
    return responses[:, 0].view(z.shape), responses[:, 1].view(z.shape)


def image_gradient(z: torch.Tensor) -> torch.Tensor:
    """G(z) = |Sobel_x z| + |Sobel_y z| of each channel: (B, C, H, W) to the same shape, in [0, 8] for z in [0, 1]."""
    x, y = sobel(z)
    return x.abs() + y.abs()


def fusion_loss(
    fused: torch.Tensor,
    sources: torch.Tensor,
    weights: FusionWeights,
    alpha: float = 1.0,
    beta: float = 1.0,
    gradient: GradientTerm = "learned",
) -> torch.Tensor:
    """L_f = alpha · L_int + beta · L_grad, a scalar.

    L_int is the mean square of w·(source − fused), summed over the two sources. L_grad is the same of the image
    gradients with the second pair of weights (`gradient="learned"`), or the mean distance of the fused image's Sobel
    responses from the sources' response of larger magnitude, x and y added (`gradient="maxabs"`).

    Args:
        fused: (B, 1, H, W).
        sources: (B, 2, H, W).
        weights: as the loss proposal module gives them.

    Raises:
        UserError: gradient="learned" and the weights have no gradient pair, or `gradient` is neither of the two.
    """
    intensity_term, gradient_term = fusion_loss_terms(fused, sources, weights, gradient)
    return alpha * intensity_term + beta * gradient_term


def fusion_loss_terms(
    fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights, gradient: GradientTerm = "learned"
) -> tuple[torch.Tensor, torch.Tensor]:
    """L_int and L_grad, two scalars; arguments and errors are those of `fusion_loss`."""
    intensity_term = _weighted_square(weights.intensity, sources - fused)
    if gradient == "learned":
        if weights.gradient is None:
            raise UserError(
                "the gradient term 'learned' needs a loss proposal module that learns gradient weights: "
                "choose the term 'maxabs', or let the module learn them"
            )
        gradient_term = _weighted_square(weights.gradient, image_gradient(sources) - image_gradient(fused))
    elif gradient == "maxabs":
        gradient_term = torch.stack(
            [
                (of_fused - _larger(of_sources)).abs().mean()
                for of_fused, of_sources in zip(sobel(fused), sobel(sources), strict=True)
            ]
        ).sum()
    else:
        raise UserError(f"there is no gradient term {gradient!r}: choose 'learned' or 'maxabs'")
    return intensity_term, gradient_term


def reconstruction_loss(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """L_r, a scalar: at each pixel the worse of the two sources counts, in intensity and in gradient.

    mean(max(|a − â|, |b − b̂|)²) + mean(max(|G(a) − G(â)|, |G(b) − G(b̂)|)²), both arguments (B, 2, H, W).
    """
    return _worst_square(sources - rebuilt) + _worst_square(image_gradient(sources) - image_gradient(rebuilt))


def _weighted_square(weights: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    return (weights * difference).square().sum(dim=1).mean()


def _worst_square(difference: torch.Tensor) -> torch.Tensor:
    return difference.abs().amax(dim=1).square().mean()


def _larger(pair: torch.Tensor) -> torch.Tensor:
    a, b = pair.chunk(2, dim=1)
    return torch.where(a.abs() >= b.abs(), a, b)
