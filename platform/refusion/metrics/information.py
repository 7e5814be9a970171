"""How much information the fused image holds: EN."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """EN in bits: −Σ p log2 p over the 256 grey levels of ``fused`` (B,H,W); the sources play no part.

    METRICS.md, convention ``authors``. A NaN anywhere in an image makes its entropy NaN.
    """
    batch = fused.shape[0]
    spoilt = fused.isnan().flatten(1).any(1)
    levels = fused.nan_to_num(0.0).long().flatten(1)
    first_bin = 256 * torch.arange(batch, device=fused.device)[:, None]
    counts = torch.bincount((levels + first_bin).flatten(), minlength=256 * batch).view(batch, 256)
    probabilities = counts.double() / levels.shape[1]
    bits: Tensor = torch.special.entr(probabilities).sum(1) / math.log(2)
    return bits.masked_fill(spoilt, torch.nan)
