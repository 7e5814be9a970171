"""How far the fused image's grey levels are from those of the sources: MSE, RMSE and PSNR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIXELS = (-2, -1)
PEAK = 255.0


def mean_squared_error(fused: Tensor, sources: Tensor, *, unit: float = 1.0) -> Tensor:
    """MSE: mean of mean((a − f)²) and mean((b − f)²), in squared grey levels (Jagalingam & Hegde 2015).

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        unit: so many grey levels count as 1; L. Tang's evaluator scales the images to 0–1, so 255.
    """
    return _squared_errors(fused, sources).mean(0) / unit**2


def root_mean_squared_error(fused: Tensor, sources: Tensor) -> Tensor:
    """RMSE: mean of the root mean squared errors against the two sources, in grey levels (Jagalingam & Hegde 2015).

    Not the root of MSE, which is greater unless both errors are equal. Takes (B,H,W) and (2,B,H,W), gives (B,).
    """
    return _squared_errors(fused, sources).sqrt().mean(0)


def root_error_per_pixel(fused: Tensor, sources: Tensor) -> Tensor:
    """RMSE of VIFB: mean over the sources of sqrt(Σ (s − f)²) / (H·W), as the root comes before the division.

    So it is the RMSE in grey levels over sqrt(H·W): a larger image of the same quality has a smaller error.
    Takes (B,H,W) and (2,B,H,W), gives (B,).
    """
    return root_mean_squared_error(fused, sources) / math.sqrt(fused.shape[-2] * fused.shape[-1])


def peak_signal_to_noise_ratio(
    fused: Tensor, sources: Tensor, *, peak: float | None = PEAK, unit: float = 1.0
) -> Tensor:
    """PSNR in dB: 10 log10(peak² / MSE), MSE being the mean of the two squared errors (Jagalingam & Hegde 2015).

    Infinite where the fused image equals both sources.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        peak: None is the fused image's own maximum, as in CDDFuse's evaluator: then −∞ for a black one, NaN (0/0) if
            the sources are black too.
        unit: see ``mean_squared_error``. L. Tang's evaluator scales the errors to 0–1, but keeps the peak of 255.
    """
    highest = fused.amax(PIXELS) if peak is None else peak
    return 10 * torch.log10(highest**2 / mean_squared_error(fused, sources, unit=unit))


def psnr_of_root_error(fused: Tensor, sources: Tensor) -> Tensor:
    """PSNR of VIFB in dB: 10 log10(255² / e), where e is not MSE but ``root_error_per_pixel``.

    Infinite where the fused image equals both sources. Takes (B,H,W) and (2,B,H,W), gives (B,).
    """
    return 10 * torch.log10(PEAK**2 / root_error_per_pixel(fused, sources))


def _squared_errors(fused: Tensor, sources: Tensor) -> Tensor:
    """Mean squared difference of each source (2,B)."""
    return torch.stack([(source - fused).square_().mean(PIXELS) for source in sources])
