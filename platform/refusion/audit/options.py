"""Options of one fit of the audit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit.

    Attributes:
        channel_noise: standard deviation of the noise that R sees the fused picture through, on the scale [0, 1].
        width: of R.
        steps: Adam steps, at a rate that falls from 2e-3 to 0 as a cosine.
        seed: of R's start, the crops and the noise; the same for every method.
        batch: crops a step.
        crop: side of a crop, px.
        from_fused: R begins with the fused picture (`ReconstructionModule`).
    """

    channel_noise: float = 0.0
    width: int = 32
    steps: int = 800
    seed: int = 0
    batch: int = 8
    crop: int = 80
    from_fused: bool = False
