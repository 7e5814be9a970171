"""The two objectives: the fusion loss, whose weights are learned, and the reconstruction loss.

Sources are always one tensor (B, 2, H, W) with a first, then b; all images are in [0, 1]. Any other differentiable
function of the same arguments may take the place of either (``Loss``, ``Reward``).

Source: ReFusion (arXiv 2312.07943), the fusion loss with learnable weights and the reconstruction loss; the variant
`gradient="maxabs"` is that of the follow-up TDFusion (CVPR 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from refusion.errors import UserError

GradientTerm = Literal["learned", "maxabs"]


class FusionWeights(NamedTuple):
    """Weights that the loss proposal module proposes: each (B, 2, H, W) in [0, 1], summing to 1 over the two sources.

    ``gradient`` is None where the module learns no gradient weights.
    """

    intensity: torch.Tensor
    gradient: torch.Tensor | None


Loss = Callable[[torch.Tensor, torch.Tensor, FusionWeights], torch.Tensor]
"""Fusion loss of fused (B, 1, H, W), sources (B, 2, H, W) and the proposed weights: a scalar, mean over the batch."""

Reward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Reconstruction loss of rebuilt and true sources, both (B, 2, H, W): a scalar, mean over the batch."""


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


@dataclass(frozen=True)
class FusionLoss:
    """Published fusion loss L_f = alpha · L_int + beta · L_grad, a ``Loss``.

    L_int is the mean square of w·(source − fused), summed over the two sources. L_grad is the same of the image
    gradients with the second pair of weights (`gradient="learned"`), or the mean distance of the fused image's Sobel
    responses from the sources' response of larger magnitude, x and y added (`gradient="maxabs"`).

    Args:
        alpha: weight of the intensity term.
        beta: weight of the gradient term.
        gradient: kind of gradient term.

    >>> sources = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    >>> half = torch.full((1, 2, 4, 4), 0.5)
    >>> loss = FusionLoss(beta=0.0)
    >>> float(loss(sources.mean(dim=1, keepdim=True), sources, FusionWeights(half, half)))
    0.125
    """

    alpha: float = 1.0
    beta: float = 1.0
    gradient: GradientTerm = "learned"

    def __call__(self, fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights) -> torch.Tensor:
        """Returns L_f, a scalar; arguments and errors are those of ``terms``."""
        return self.combined(*self.terms(fused, sources, weights))

    def combined(self, intensity_term: torch.Tensor, gradient_term: torch.Tensor) -> torch.Tensor:
        """Returns L_f of its two terms."""
        return self.alpha * intensity_term + self.beta * gradient_term

    def terms(
        self, fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns L_int and L_grad, two scalars.

        Args:
            fused: (B, 1, H, W).
            sources: (B, 2, H, W).
            weights: as the loss proposal module gives them.

        Raises:
            UserError: gradient="learned" and the weights have no gradient pair, or `gradient` is neither of the two.
        """
        intensity_term = _weighted_square(weights.intensity, sources - fused)
        if self.gradient == "learned":
            if weights.gradient is None:
                raise UserError(
                    "the gradient term 'learned' needs a loss proposal module that learns gradient weights: "
                    "choose the term 'maxabs', or let the module learn them"
                )
            gradient_term = _weighted_square(weights.gradient, image_gradient(sources) - image_gradient(fused))
        elif self.gradient == "maxabs":
            gradient_term = torch.stack(
                [
                    (of_fused - _larger(of_sources)).abs().mean()
                    for of_fused, of_sources in zip(sobel(fused), sobel(sources), strict=True)
                ]
            ).sum()
        else:
            raise UserError(f"there is no gradient term {self.gradient!r}: choose 'learned' or 'maxabs'")
        return intensity_term, gradient_term


def fusion_loss(
    fused: torch.Tensor,
    sources: torch.Tensor,
    weights: FusionWeights,
    alpha: float = 1.0,
    beta: float = 1.0,
    gradient: GradientTerm = "learned",
) -> torch.Tensor:
    """Returns the published fusion loss, a scalar: ``FusionLoss(alpha, beta, gradient)`` of the first three arguments.

    Args:
        fused: (B, 1, H, W).
        sources: (B, 2, H, W).
        weights: as the loss proposal module gives them.
        alpha, beta, gradient: as in `FusionLoss`.

    Raises:
        UserError: gradient="learned" and the weights have no gradient pair, or `gradient` is neither of the two.

    Example:
        >>> import torch
        >>> from refusion.objectives import FusionWeights, fusion_loss
        >>> sources = torch.rand(1, 2, 8, 8)
        >>> half = torch.full_like(sources, 0.5)
        >>> fusion_loss(sources.mean(dim=1, keepdim=True), sources, FusionWeights(half, half)).shape
        torch.Size([])
    """
    return FusionLoss(alpha, beta, gradient)(fused, sources, weights)


def reconstruction_loss(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Returns the published reconstruction loss L_r, a scalar and a ``Reward``.

    At each pixel the worse of the two sources counts, in intensity and in gradient:
    mean(max(|a − â|, |b − b̂|)²) + mean(max(|G(a) − G(â)|, |G(b) − G(b̂)|)²), both arguments (B, 2, H, W).

    Example:
        >>> import torch
        >>> from refusion.objectives import reconstruction_loss
        >>> sources = torch.rand(1, 2, 8, 8)
        >>> float(reconstruction_loss(sources, sources))
        0.0
    """
    return _worst_square(sources - rebuilt) + _worst_square(image_gradient(sources) - image_gradient(rebuilt))


def _weighted_square(weights: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    return (weights * difference).square().sum(dim=1).mean()


def _worst_square(difference: torch.Tensor) -> torch.Tensor:
    return difference.abs().amax(dim=1).square().mean()


def _larger(pair: torch.Tensor) -> torch.Tensor:
    a, b = pair.chunk(2, dim=1)
    return torch.where(a.abs() >= b.abs(), a, b)
