"""Transforms of whole images by FFT: cosine, discrete Meyer wavelet, and filters given by their response."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from refusion.metrics.filters import pixels_at_once

MEYER_TAPS = 102


def filter_radially(images: Tensor, response: Callable[[Tensor], Tensor]) -> Tensor:
    """Multiplies the spectrum of (…,H,W) by ``response`` of the frequency in cycles per image; borders wrap round."""
    height, width = images.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / height, dtype=images.dtype, device=images.device)
    columns = torch.fft.rfftfreq(width, 1 / width, dtype=images.dtype, device=images.device)
    spectrum = torch.fft.rfft2(images).mul_(response(torch.hypot(rows[:, None], columns)))
    filtered: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return filtered


def cosine_transform(images: Tensor) -> Tensor:
    """Returns the orthonormal two-dimensional DCT-II of (B,H,W): MATLAB's ``dct2``."""
    return _along_both_axes(images, _cosine_along_width)


def meyer_transform(images: Tensor) -> Tensor:
    """Returns one level of the discrete Meyer wavelet transform of (B,H,W), the four subbands side by side.

    The order is [approximation, horizontal; vertical, diagonal], each of side (n + 101) // 2: MATLAB's
    ``dwt2(…, 'dmey')``, images mirrored at the border.
    """
    subbands = _along_both_axes(images, _wavelet_along_width)
    upper, lower = subbands.chunk(2, dim=-2)
    (approximation, vertical), (horizontal, diagonal) = upper.chunk(2, dim=-1), lower.chunk(2, dim=-1)
    return torch.cat([torch.cat([approximation, horizontal], dim=-1), torch.cat([vertical, diagonal], dim=-1)], dim=-2)


def meyer_filters() -> tuple[list[float], list[float]]:
    """Returns the 102 taps of the low-pass and the high-pass analysis filter of the discrete Meyer wavelet.

    The filter is Meyer's scaling filter √2·cos(π/2·ν(3|ω|/π − 1)) with ν(x) = x⁴(35 − 84x + 70x² − 20x³), cut off at
    ±50 samples and set in the order of MATLAB's ``wfilters('dmey')``, from which the taps differ by less than 1e-10
    (PyWavelets has 62 coarser ones). The low-pass taps sum to √2.
    """
    low = _meyer_low_pass()
    return list(low), [-tap if i % 2 == 0 else tap for i, tap in enumerate(reversed(low))]


@cache
def _meyer_low_pass() -> tuple[float, ...]:
    samples = 1024
    centre = MEYER_TAPS // 2
    angles = [2 * math.pi * (i / samples - 0.5) for i in range(samples)]
    responses = [_meyer_response(abs(angle)) for angle in angles]
    half = [math.fsum(r * math.cos(k * w) for r, w in zip(responses, angles, strict=True)) for k in range(centre)]
    total = math.fsum(half[1:]) * 2 + half[0]
    half = [tap * math.sqrt(2) / total for tap in half]
    return (0.0, *reversed(half[1:]), *half)


def _meyer_response(angle: float) -> float:
    x = min(max(3 * angle / math.pi - 1, 0), 1)
    return math.cos(math.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))


def _along_both_axes(images: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    for _ in range(2):
        # Strips, since the spectra are several times the size of the images.
        rows = max(1, pixels_at_once(images.device.type == "cpu") // max(1, images.shape[0] * images.shape[-1]))
        images = torch.cat([transform(strip) for strip in torch.split(images, rows, dim=-2)], dim=-2).mT
    return images


def _cosine_along_width(images: Tensor) -> Tensor:
    width = images.shape[-1]
    # Makhoul 1980: the even samples, then the odd ones backwards, have the transform's spectrum up to a phase.
    spectrum = torch.fft.fft(torch.cat([images[..., ::2], images[..., 1::2].flip(-1)], dim=-1))
    phase = torch.arange(width, dtype=images.dtype, device=images.device) * (-math.pi / (2 * width))
    scale = torch.full_like(phase, math.sqrt(2 / width))
    scale[0] = math.sqrt(1 / width)
    turned: Tensor = spectrum * torch.polar(scale, phase)
    return turned.real


def _wavelet_along_width(images: Tensor) -> Tensor:
    width = images.shape[-1]
    period = 2 * width
    mirrored = torch.fft.rfft(torch.cat([images, images.flip(-1)], dim=-1))
    samples_taken = torch.arange((width + MEYER_TAPS - 1) // 2, device=images.device) * 2 + 1
    subbands = []
    for taps in meyer_filters():
        # Mirrored images repeat themselves, so taps that lie a period apart meet the same sample.
        folded = [math.fsum(taps[start::period]) for start in range(min(period, MEYER_TAPS))]
        response = torch.fft.rfft(torch.tensor(folded, dtype=images.dtype, device=images.device), n=period)
        subbands.append(torch.fft.irfft(mirrored * response, n=period)[..., samples_taken % period])
    return torch.cat(subbands, dim=-1)
