"""Mutual information of local features between the fused image and its sources (the four FMI)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from refusion.metrics.filters import pixels_at_once
from refusion.metrics.transforms import cosine_transform, meyer_transform

SIDE = 3
CELLS = SIDE**2
MIDDLE = CELLS // 2

# In grey levels: rounding makes the features of a flat area differ by up to this much.
ROUNDING = 1e-8


def pixel_information(fused: Tensor, sources: Tensor, *, limited: bool = False) -> Tensor:
    """Scores FMI-pixel, the ``feature_information`` of the grey levels as they are."""
    return feature_information(fused, sources, lambda images: images, limited=limited)


def gradient_information(fused: Tensor, sources: Tensor, *, limited: bool = False) -> Tensor:
    """Scores FMI-gradient: ``feature_information`` of the horizontal differences alone, as in Haghighat's program.

    The differences are central, one-sided at the border; MATLAB's ``gradient`` with one result is the horizontal one.
    """
    return feature_information(fused, sources, lambda images: torch.gradient(images, dim=-1)[0], limited=limited)


def edge_strength_information(fused: Tensor, sources: Tensor, *, limited: bool = False) -> Tensor:
    """Scores FMI-gradient on sqrt(dx² + dy²), so that edges of every direction count.

    Convention ``corrected`` uses it: docs/metrics.md.
    """
    return feature_information(fused, sources, _edge_strength, limited=limited)


def cosine_information(fused: Tensor, sources: Tensor, *, limited: bool = False) -> Tensor:
    """Scores FMI-DCT: ``feature_information`` of the two-dimensional cosine transform of the whole image."""
    return feature_information(fused, sources, cosine_transform, limited=limited)


def wavelet_information(fused: Tensor, sources: Tensor, *, limited: bool = False) -> Tensor:
    """Scores FMI-wavelet: ``feature_information`` of one level of the discrete Meyer wavelet transform.

    The four subbands lie side by side, [approximation, horizontal; vertical, diagonal], and windows cross their seams.
    """
    return feature_information(fused, sources, meyer_transform, limited=limited)


def feature_information(
    fused: Tensor, sources: Tensor, feature: Callable[[Tensor], Tensor], *, limited: bool = False
) -> Tensor:
    """Scores the mutual information of features over their entropies, averaged over all 3×3 windows and both sources.

    The method is Haghighat, Aghagolzadeh & Seyedarabi 2011 in the form of Fast-FMI (Haghighat & Razian 2014) and its
    public program. The nine features of a window, less their minimum and over their sum, are the probabilities of the
    outcomes 1…9 (down the columns, so that turning all images matters a little); a flat window is uniform. The joint
    distribution mixes independence with the Fréchet bound of the sign of c, the Pearson correlation of the two windows,
    so that the outcomes have the correlation c. A window scores 2·(Hs + Hf − Hsf)/(Hs + Hf): 1 where it equals the
    source's, 0 where one of the two is flat or has a single peak.

    As in the program, c may be beyond the bound; joint "probabilities" below 0 then count as p·log|p|, and a window may
    score less than 0 or more than 1. Unlike in the program, differences of features under ``ROUNDING`` count as none:
    they depend on the processor, and stretched to a distribution they would count as much as any.

    Args:
        fused: (B,H,W); sources: (2,B,H,W).
        feature: from (B,H,W) to (B,H',W') with sides of at least 3.
        limited: takes the bound itself where c is beyond it, so that scores keep to 0–1 (docs/metrics.md, convention
            ``corrected``).

    Returns:
        (B,); NaN for an image with NaN. Flat images have a score, too: equal ones 1, others 0.
    """
    total = fused.new_zeros(fused.shape[0])
    f = feature(fused)
    for source in sources:
        for window_f, window_s in zip(_windows(f), _windows(feature(source)), strict=True):
            total += _normalised_mutual_information(window_f, window_s, limited).sum(-1)
    return total / (len(sources) * (f.shape[-2] - SIDE + 1) * (f.shape[-1] - SIDE + 1))


def _edge_strength(images: Tensor) -> Tensor:
    strength: Tensor = torch.hypot(*torch.gradient(images, dim=(-2, -1)))
    return strength


def _windows(features: Tensor) -> Iterator[Tensor]:
    """Yields the windows in strips, (9,B,n): the cells of each down its columns."""
    batch, height, width = features.shape
    # Each window needs about twenty numbers at a time.
    rows = max(1, pixels_at_once(features.device.type == "cpu") // (16 * max(1, batch * width)))
    last_row, last_column = height - SIDE + 1, width - SIDE + 1
    for top in range(0, last_row, rows):
        bottom = min(top + rows, last_row)
        shifted = [features[:, top + y : bottom + y, x : last_column + x] for x in range(SIDE) for y in range(SIDE)]
        yield torch.stack(shifted).flatten(2)


def _normalised_mutual_information(f: Tensor, s: Tensor, limited: bool) -> Tensor:
    """Returns the normalised mutual information (B,n) of windows (9,B,n)."""
    equal = ((f - s).abs_() < ROUNDING).all(0)
    p_f, p_s = _probabilities(f), _probabilities(s)
    c = _correlation(p_f, p_s)
    # The bound for c < 0 is the bound for c > 0 with one of the two orders reversed.
    p_s = torch.where(c < 0, p_s.flip(0), p_s)
    overlaps, products, covariance = _upper_bound(p_f, p_s)
    weight = c.abs_() * (_variance(p_f) * _variance(p_s)).sqrt_()
    weight = torch.where((weight == 0) | (covariance == 0), weight * 0, weight / covariance)
    if limited:
        weight.clamp_(max=1)
    # The cells off the staircase hold p_f·p_s·(1 − weight): the entropy of a product is the sum of its factors'.
    rest = 1 - weight
    entropies = _entropy_terms(p_f).sum(0) + _entropy_terms(p_s).sum(0)
    joint = rest * entropies + _entropy_terms(rest)
    for overlap, product in zip(overlaps, products, strict=True):
        independent = rest * product
        joint += _entropy_terms(weight * overlap + independent) - _entropy_terms(independent)
    score = 2 * (entropies - joint) / entropies
    return score.masked_fill_(entropies == 0, 0.0).masked_fill_(equal, 1.0)


def _upper_bound(p: Tensor, q: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Returns the joint distribution of greatest correlation that the probabilities (9,…) of two windows allow.

    Both cut [0, 1] into nine stretches, and a pair of outcomes has the overlap of its two stretches: 17 pairs at most
    have any, the steps of a staircase from (1, 1) to (9, 9).

    Returns:
        For each step its overlap (…) and the product (…) of the two probabilities; and the covariance (…) of the
        outcomes.
    """
    ends_p, ends_q = p.cumsum(0), q.cumsum(0)
    i, j = (torch.zeros(1, *p.shape[1:], dtype=torch.long, device=p.device) for _ in range(2))
    reached = torch.zeros_like(p[0])
    covariance = -_mean(p) * _mean(q)
    overlaps, products = [], []
    for _ in range(2 * CELLS - 1):
        end_p, end_q = ends_p.gather(0, i)[0], ends_q.gather(0, j)[0]
        end = torch.minimum(end_p, end_q)
        overlaps.append((end - reached).clamp_(min=0))
        products.append(p.gather(0, i)[0] * q.gather(0, j)[0])
        covariance += overlaps[-1] * ((i[0] - MIDDLE) * (j[0] - MIDDLE))
        reached = end
        p_ends_first = end_p <= end_q
        i, j = (i + p_ends_first).clamp_(max=CELLS - 1), (j + ~p_ends_first).clamp_(max=CELLS - 1)
    return overlaps, products, covariance


def _probabilities(window: Tensor) -> Tensor:
    above = window - window.amin(0)
    above.masked_fill_(above < ROUNDING, 0.0)
    total = above.sum(0)
    return (above / total).masked_fill_(total == 0, 1 / CELLS)


def _correlation(p: Tensor, q: Tensor) -> Tensor:
    p, q = p - 1 / CELLS, q - 1 / CELLS
    product = (p * q).sum(0)
    c = product / (p.square_().sum(0) * q.square_().sum(0)).sqrt_()
    return c.masked_fill_(product == 0, 0.0)


def _mean(p: Tensor) -> Tensor:
    """Returns the mean outcome, counted from the middle one."""
    mean: Tensor = torch.tensordot(_outcomes(p), p, dims=1)
    return mean


def _variance(p: Tensor) -> Tensor:
    squares: Tensor = torch.tensordot(_outcomes(p).square(), p, dims=1)
    return (squares - _mean(p).square()).clamp_(min=0)


def _outcomes(p: Tensor) -> Tensor:
    return torch.arange(CELLS, dtype=p.dtype, device=p.device) - MIDDLE


def _entropy_terms(p: Tensor) -> Tensor:
    """Returns −p·log|p|, in nats; 0 for 0."""
    return p.abs().clamp_(min=1e-300).log_().mul_(p).neg_()
