"""Deviations of the fused image's grey levels from those of the sources (MSE, RMSE, PSNR)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIXELS = (-2, -1)
PEAK = 255.0


def mean_squared_error(fused: Tensor, sources: Tensor, *, unit: float = 1.0) -> Tensor:
    """Scores MSE: mean of mean((a − f)²) and mean((b − f)²), in squared grey levels (Jagalingam & Hegde 2015).

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        unit: number of grey levels that count as 1; 255 in L. Tang's evaluator, which scales the images to 0–1.
    """
    return _squared_errors(fused, sources).mean(0) / unit**2


def root_mean_squared_error(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores RMSE: mean of the two root mean squared errors, in grey levels (Jagalingam & Hegde 2015).

    The root of MSE is greater unless both errors are equal. Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    return _squared_errors(fused, sources).sqrt().mean(0)


def root_error_per_pixel(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores RMSE as VIFB does: mean over the sources of sqrt(Σ (s − f)²) / (H·W), the root before the division.

    This is the RMSE in grey levels over sqrt(H·W): a larger image of the same quality has a smaller error.
    Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    return root_mean_squared_error(fused, sources) / math.sqrt(fused.shape[-2] * fused.shape[-1])


def peak_signal_to_noise_ratio(
    fused: Tensor, sources: Tensor, *, peak: float | None = PEAK, unit: float = 1.0
) -> Tensor:
    """Scores PSNR in dB: 10 log10(peak² / MSE), MSE being the mean of the two squared errors (Jagalingam & Hegde 2015).

    The score is infinite where the fused image equals both sources.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        peak: None is the fused image's own maximum, as in CDDFuse's evaluator: then −∞ for a black one, NaN (0/0) if
            the sources are black too.
        unit: see ``mean_squared_error``. L. Tang's evaluator scales the errors to 0–1, but keeps the peak of 255.
    """
    highest = fused.amax(PIXELS) if peak is None else peak
    return 10 * torch.log10(highest**2 / mean_squared_error(fused, sources, unit=unit))


def psnr_of_root_error(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores PSNR as VIFB does, in dB: 10 log10(255² / e), where e is not MSE but ``root_error_per_pixel``.

    The score is infinite where the fused image equals both sources. Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    return 10 * torch.log10(PEAK**2 / root_error_per_pixel(fused, sources))


def _squared_errors(fused: Tensor, sources: Tensor) -> Tensor:
    """Returns the mean squared difference of each source, (2,B)."""
    return torch.stack([(source - fused).square_().mean(PIXELS) for source in sources])
