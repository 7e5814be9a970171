"""Perceived error in the regions of the sources, weighted by their edges (Q_CV)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from refusion.metrics.families.contrast import stretched
from refusion.metrics.families.edges import sobel
from refusion.metrics.transforms import filter_radially

# Width and height of the image in degrees of the visual field, whatever its number of pixels.
VIEW = 4
REGION = 16


def regional_error(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Q_CV (Chen & Varshney 2007): mean squared perceived difference over regions of 16×16 pixels.

    The form is that of Z. Liu's program, which VIFB and most papers use: every image is first stretched to 0–255 by
    itself (a black one stays black). A region of a source weighs Σ g⁵, g the strength of its Sobel edges with black
    beyond the border; its error is the mean square of the source less the fused image, filtered by the contrast
    sensitivity 2.6·(0.0192 + 0.144·r)·exp(−(0.144·r)^1.1), r in cycles per degree, borders wrapped. Regions cut off by
    the right or lower border are filled up with zeros.

    Args:
        fused: (B,H,W); sources: (2,B,H,W); 0–255.

    Returns:
        (B,) squared grey levels, 0 or more, less is better. NaN for an image with NaN, where one of the three images is
        flat but not black, and where no source has an edge.
    """
    images = (_stretched_unless_black(image) for image in (fused, *sources))
    return _weighted_error(*images, slope=0.144, corrected=False)


def corrected_regional_error(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Q_CV without its program's peculiarities (docs/metrics.md, convention ``corrected``).

    The images are taken as they are, so that a change of contrast costs; their borders are repeated, where a step to
    black, to the fifth power, would outweigh the edges inside; the means of regions cut off are over their own pixels;
    and the contrast sensitivity has the slope 0.114 of Mannos & Sakrison 1974, so that its peak is at 8 cycles per
    degree. NaN where no source has an edge. Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    return _weighted_error(fused, *sources, slope=0.114, corrected=True)


def _stretched_unless_black(images: Tensor) -> Tensor:
    black = images.amax((-2, -1), keepdim=True) == 0
    return stretched(images).masked_fill_(black, 0.0)


def _weighted_error(fused: Tensor, *sources: Tensor, slope: float, corrected: bool) -> Tensor:
    def sensitivity(cycles: Tensor) -> Tensor:
        r = cycles * (slope / VIEW)
        return 2.6 * (0.0192 + r) * torch.exp(-(r**1.1))

    pixels = _region_sums(torch.ones_like(fused[:1])) if corrected else REGION**2
    error = fused.new_zeros(fused.shape[0])
    weight = torch.zeros_like(error)
    for source in sources:
        saliency = _region_sums(_fifth_power_of_edges(source, "replicate" if corrected else "constant"))
        difference = _region_sums(filter_radially(source - fused, sensitivity).square_()) / pixels
        error += (saliency * difference).sum((-2, -1))
        weight += saliency.sum((-2, -1))
    return error / weight


def _fifth_power_of_edges(images: Tensor, border: str) -> Tensor:
    sx, sy = sobel(pad(images, (1, 1, 1, 1), border))
    squared = sx.square_().add_(sy.square_())
    return squared.square() * squared.sqrt()


def _region_sums(images: Tensor) -> Tensor:
    """Sums each region of (B,H,W): (B,⌈H/16⌉,⌈W/16⌉)."""
    height, width = images.shape[-2:]
    whole = pad(images, (0, -width % REGION, 0, -height % REGION))
    rows, columns = whole.shape[-2] // REGION, whole.shape[-1] // REGION
    return whole.reshape(-1, rows, REGION, columns, REGION).sum((2, 4))
