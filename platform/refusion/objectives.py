"""The two objectives: the fusion loss, whose weights are learned, and the reconstruction loss.

Sources are always one tensor (B, 2, H, W) with a first, then b; all images are in [0, 1]. Any other differentiable
function of the same arguments may take the place of either (``Loss``, ``Reward``).

Source: ReFusion (arXiv 2312.07943), the fusion loss with learnable weights and the reconstruction loss; the variant
`gradient="maxabs"` is that of the follow-up TDFusion (CVPR 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F

from refusion.errors import UserError

GradientTerm = Literal["learned", "signed", "maxabs"]
Padding = Literal["zero", "replicate"]
Weighting = Literal["squared", "linear"]

# The one whose weights are not learned.
UNLEARNED: GradientTerm = "maxabs"


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


def sobel(z: torch.Tensor, padding: Padding = "zero") -> tuple[torch.Tensor, torch.Tensor]:
    """Sobel responses in x and in y (3×3) of each channel: (B, C, H, W) to two of the same shape.

    With the published `padding="zero"` the border is an edge of three to four times its brightness; with "replicate",
    which repeats it, there is none.
    """
    planes = z.flatten(0, 1).unsqueeze(1)
    if padding == "replicate":
        planes = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    responses = F.conv2d(planes, _sobel_kernels(z.dtype, z.device), padding=int(padding == "zero"))
    return responses[:, 0].view(z.shape), responses[:, 1].view(z.shape)


@cache
def _sobel_kernels(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    # Kept, since a tensor made of a list is copied from the host, which a GPU waits for in every call.
    x_kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=dtype, device=device)
    return torch.stack((x_kernel, x_kernel.T)).unsqueeze(1)


def image_gradient(z: torch.Tensor, padding: Padding = "zero") -> torch.Tensor:
    """G(z) = |Sobel_x z| + |Sobel_y z| of each channel: (B, C, H, W) to the same shape, in [0, 8] for z in [0, 1]."""
    x, y = sobel(z, padding)
    return x.abs() + y.abs()


@dataclass(frozen=True)
class FusionLoss:
    """Fusion loss L_f = alpha · L_int + beta · L_grad, a ``Loss``; published as ``FusionLoss(alpha, beta)``.

    L_int is the mean square of w·(source − fused), summed over the two sources; with `weighting="linear"` the mean of
    w·(source − fused)², whose least is at the weighted mean of the sources. L_grad is one of

    - "learned" (published): the same of the image gradients, with the second pair of weights v;
    - "signed": the mean of v·(|∂x source − ∂x fused| + |∂y source − ∂y fused|), Sobel with the border repeated, summed
      over the sources; sign and direction count, and its least is at the source of larger weight;
    - "maxabs": the mean distance of the fused image's Sobel responses from the sources' response of larger magnitude,
      x and y added; nothing of it is learned.

    Args:
        alpha: weight of the intensity term, a number or a tensor of no dimension.
        beta: weight of the gradient term, alike.
        gradient: kind of gradient term.
        weighting: of the squared differences, by the weights squared (published) or by the weights.

    >>> sources = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    >>> half = torch.full((1, 2, 4, 4), 0.5)
    >>> loss = FusionLoss(beta=0.0)
    >>> float(loss(sources.mean(dim=1, keepdim=True), sources, FusionWeights(half, half)))
    0.125
    """

    alpha: float | torch.Tensor = 1.0
    beta: float | torch.Tensor = 1.0
    gradient: GradientTerm = "learned"
    weighting: Weighting = "squared"

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
            UserError: the gradient term is learned and the weights have no gradient pair, or there is no such term.
        """
        intensity_term = self._weighted_square(weights.intensity, sources - fused)
        if self.gradient in ("learned", "signed"):
            if weights.gradient is None:
                raise UserError(
                    f"the gradient term {self.gradient!r} needs a loss proposal module that learns gradient weights: "
                    "choose the term 'maxabs', or let the module learn them"
                )
            if self.gradient == "learned":
                differences = image_gradient(sources) - image_gradient(fused)
                gradient_term = self._weighted_square(weights.gradient, differences)
            else:
                x, y = sobel(sources - fused, padding="replicate")
                gradient_term = (weights.gradient * (x.abs() + y.abs())).sum(dim=1).mean()
        elif self.gradient == UNLEARNED:
            gradient_term = torch.stack(
                [
                    (of_fused - _larger(of_sources)).abs().mean()
                    for of_fused, of_sources in zip(sobel(fused), sobel(sources), strict=True)
                ]
            ).sum()
        else:
            raise UserError(f"there is no gradient term {self.gradient!r}: choose {', '.join(get_args(GradientTerm))}")
        return intensity_term, gradient_term

    def _weighted_square(self, weights: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
        squares = (weights * difference).square() if self.weighting == "squared" else weights * difference.square()
        return squares.sum(dim=1).mean()


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
        UserError: as `FusionLoss.terms`.

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


def _worst_square(difference: torch.Tensor) -> torch.Tensor:
    return difference.abs().amax(dim=1).square().mean()


def _larger(pair: torch.Tensor) -> torch.Tensor:
    a, b = pair.chunk(2, dim=1)
    return torch.where(a.abs() >= b.abs(), a, b)
