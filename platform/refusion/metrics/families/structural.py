"""Structural similarity with the sources over square and over Gaussian windows (SSIM)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from refusion.metrics.filters import gaussian_window, strips, windowed_sums, with_border

SQUARE = 7
SAMPLE_CORRECTION = SQUARE**2 / (SQUARE**2 - 1)
GAUSSIAN = 11
SIGMA = 1.5
PEAK = 255.0

Similarity = Callable[[Tensor, Tensor], Tensor]


def mean_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores SSIM: mean over the two sources of scikit-image's ``structural_similarity`` on uint8 with its defaults.

    The window is uniform, 7×7, with the sample covariance, data range 255, K1 = 0.01, K2 = 0.03; only windows that lie
    wholly inside count (its cropped border of 3). See docs/metrics.md, convention ``authors``; Wang et al. 2004 use a
    Gaussian window instead. Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    return _mean_over_windows(
        fused, sources, SQUARE, lambda f, s: _similarity(f, s, _square_means, PEAK, SAMPLE_CORRECTION)
    )


def summed_ssim_of_range_two(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores SSIM as CDDFuse's evaluator does: like ``mean_ssim``, but the sum of the two, and for a data range of 2.

    Old scikit-image takes float images to have that range. As the grey levels are on 0–255 all the same, the constants
    hardly count, so that nearly flat areas decide; there the rounding of its float32 shows (up to 1e-5 of the score),
    and is kept. Takes whole grey levels (B,H,W) and (2,B,H,W), returns (B,) float64.
    """
    return 2 * _mean_over_windows(fused, sources, SQUARE, _similarity_in_float32)


def gaussian_ssim(fused: Tensor, sources: Tensor, *, peak: float = PEAK, every_pixel: bool = False) -> Tensor:
    """Scores SSIM of Wang et al. 2004: 11×11 Gaussian window with σ = 1.5, mean over the two sources.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        peak: range L of the constants (0.01 L)² and (0.03 L)².
        every_pixel: a window round every pixel, the border pixels repeated outwards; otherwise, as in Wang's own
            code, only windows that lie wholly inside. With a peak of 1 this is MATLAB's ``ssim`` on doubles.

    Returns:
        (B,).
    """
    if every_pixel:
        fused, sources = (with_border(images, GAUSSIAN // 2, "replicate") for images in (fused, sources))
    return _mean_over_windows(fused, sources, GAUSSIAN, lambda f, s: _similarity(f, s, gaussian_means, peak))


def summed_gaussian_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores SSIM as VIFB does: Wang's for a peak of 255, windows wholly inside, the sum of the two; (B,)."""
    return 2 * gaussian_ssim(fused, sources)


def gaussian_means(images: Tensor) -> Tensor:
    """Returns the means of (…,H,W) under Wang's window: (…,H−10,W−10)."""
    return windowed_sums(images, gaussian_window(GAUSSIAN, SIGMA))


def ssim_constants(peak: float) -> tuple[float, float]:
    """Returns C1 and C2 of Wang et al. 2004, with K1 = 0.01 and K2 = 0.03."""
    return (0.01 * peak) ** 2, (0.03 * peak) ** 2


def moments(
    fused: Tensor, sources: Tensor, means: Callable[[Tensor], Tensor], sample: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the product of the two means, the sum of their squares, covariance and summed variances in every window.

    Takes (B,H,W) and (2,B,H,W); ``means`` returns the mean in each window, ``sample`` corrects the (co)variances for
    the size of the window.
    """
    mean_f, mean_s = means(fused), means(sources)
    product = mean_f * mean_s
    squares = mean_f.square() + mean_s.square()
    covariance = sample * (means(fused * sources) - product)
    # Only the sum of the two variances is needed, so both go through the window at once.
    variances = sample * (means(fused.square() + sources.square()) - squares)
    return product, squares, covariance, variances


def _mean_over_windows(fused: Tensor, sources: Tensor, window: int, similarity: Similarity) -> Tensor:
    height, width = fused.shape[-2:]
    total = fused.new_zeros(fused.shape[0])
    for f, s in zip(strips(fused, window - 1), strips(sources, window - 1), strict=True):
        total += similarity(f, s).sum((0, -2, -1))
    return total / (2 * (height - window + 1) * (width - window + 1))


def _similarity(
    fused: Tensor, sources: Tensor, means: Callable[[Tensor], Tensor], peak: float, sample: float = 1.0
) -> Tensor:
    c1, c2 = ssim_constants(peak)
    product, squares, covariance, variances = moments(fused, sources, means, sample)
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def _square_means(images: Tensor) -> Tensor:
    return windowed_sums(images, [1.0] * SQUARE) / SQUARE**2


def _similarity_in_float32(fused: Tensor, sources: Tensor) -> Tensor:
    """Returns the similarity in every window, with scikit-image's order of operations, as each one rounds."""
    c1, c2 = ssim_constants(2.0)
    f, s = fused.float(), sources.float()
    mean_f, mean_s = _square_means_in_float32(f), _square_means_in_float32(s)
    variance_f = SAMPLE_CORRECTION * (_square_means_in_float32(f * f) - mean_f * mean_f)
    variance_s = SAMPLE_CORRECTION * (_square_means_in_float32(s * s) - mean_s * mean_s)
    covariance = SAMPLE_CORRECTION * (_square_means_in_float32(f * s) - mean_f * mean_s)
    shared = (2 * mean_f * mean_s + c1) * (2 * covariance + c2)
    own = (mean_f * mean_f + mean_s * mean_s + c1) * (variance_f + variance_s + c2)
    return (shared / own).double()


def _square_means_in_float32(images: Tensor) -> Tensor:
    for axis in (-2, -1):
        # SciPy's uniform filter adds in float64 and rounds after each axis.
        first, *others = images.unfold(axis, SQUARE, 1).unbind(-1)
        total = first.double()
        for shifted in others:
            total += shifted
        images = total.div_(SQUARE).float()
    return images
