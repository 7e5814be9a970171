"""Information in histograms of grey levels, of one image or of two together (EN, MI, NMI, CE).

Sources between two grey levels count as the nearer one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEVELS = 256


def entropy(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """Scores EN in bits: −Σ p log2 p over the 256 grey levels of ``fused`` (B,H,W); the sources play no part.

    All conventions agree on it (docs/metrics.md). A NaN anywhere in an image makes its entropy NaN.
    """
    return _entropies(_histograms(fused)) / math.log(2)


def mutual_information(fused: Tensor, sources: Tensor, *, base: float = 2.0, merge_whites: bool = False) -> Tensor:
    """Scores MI: I(f;a) + I(f;b) with I(f;s) = H(f) + H(s) − H(f,s) over 256×256 grey levels (Qu, Zhang & Yan 2002).

    The score is 0 where the fused image or both sources are flat.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        base: 2 gives bits; e nats, as CDDFuse's and VIFB's evaluators do. (VIFB stretches each image to 0–255 first,
            which moves whole grey levels but never makes two of them one, so that nothing changes.)
        merge_whites: in H(f,s), not in H(f) and H(s), count 255 as 254. L. Tang's evaluator does, for it adds 1 to
            uint8 values, which saturate; the score rises with the number of pixels of these two levels.
    """
    white = LEVELS - 2 if merge_whites else LEVELS - 1
    return _mutual_informations(fused, sources, white)[0].sum(0) / math.log(base)


def normalised_mutual_information(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores NMI: 2 I(f;a) / (H(f) + H(a)) + 2 I(f;b) / (H(f) + H(b)), in 0–2 (Hossny, Nahavandi & Creighton 2008).

    Normalising keeps the source with the higher entropy from counting for more, as it does in MI. NaN (0/0) where the
    fused image and a source are both flat, 0 where the fused image or both sources are. Takes (B,H,W) and (2,B,H,W),
    returns (B,).
    """
    shared, held = _mutual_informations(fused, sources)
    return (2 * shared / held).sum(0)


def cross_entropy(fused: Tensor, sources: Tensor, *, prior: float = 0.0) -> Tensor:
    """Scores CE in bits: mean over the two sources of Σ p_s log2(p_s / p_f) over the grey levels; lower is better.

    Bulanon, Burks & Alchanatis 2009, as VIFB computes it: grey levels that either image lacks are left out. So it is
    no true divergence: it may fall to −log2(e)/e = −0.53, and an image without a single grey level of its sources
    scores 0, as good as one with their very histogram.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        prior: pixels added to every level of each histogram (1/2 is Jeffreys' prior). With any, no level is lacking
            and the score is a Kullback–Leibler divergence: 0 for equal histograms, otherwise positive.
    """
    pixels = fused.shape[-2] * fused.shape[-1] + LEVELS * prior
    of_fused = (_histograms(fused) + prior) / pixels
    total = fused.new_zeros(fused.shape[0])
    for source in sources:
        of_source = (_histograms(source) + prior) / pixels
        lacking = (of_source == 0) | (of_fused == 0)
        total += (of_source * (of_source / of_fused).log2()).masked_fill_(lacking, 0.0).sum(1)
    return total / 2


def _levels(images: Tensor) -> Tensor:
    return images.nan_to_num(0.0).round_().clamp_(0, LEVELS - 1)


def _histograms(images: Tensor) -> Tensor:
    """Counts the pixels of each grey level in each image of (B,H,W): (B,256), NaN for an image that holds a NaN."""
    batch = images.shape[0]
    first_bin = LEVELS * torch.arange(batch, device=images.device)[:, None]
    bins = _levels(images).long().flatten(1) + first_bin
    counts = torch.bincount(bins.flatten(), minlength=LEVELS * batch).view(batch, LEVELS).double()
    return counts.masked_fill_(images.isnan().flatten(1).any(1)[:, None], torch.nan)


def _entropies(counts: Tensor) -> Tensor:
    """Returns the entropies in nats (…) of histograms (…,bins)."""
    nats: Tensor = torch.special.entr(counts / counts.sum(-1, keepdim=True)).sum(-1)
    return nats


def _joint_entropies(fused: Tensor, source: Tensor, white: int) -> Tensor:
    """Returns H(f,s) in nats (B,) of one source, both (B,H,W); levels above ``white`` count as that."""
    # One image at a time: each has 65536 bins, many more than a batch of small images has pixels.
    joint = fused.new_empty(fused.shape[0])
    for i, (f, s) in enumerate(zip(fused, source, strict=True)):
        bins = _levels(f).clamp_(max=white).mul_(LEVELS).add_(_levels(s).clamp_(max=white)).int()
        joint[i] = _entropies(torch.bincount(bins.flatten(), minlength=LEVELS**2).double())
    return joint


def _mutual_informations(fused: Tensor, sources: Tensor, white: int = LEVELS - 1) -> tuple[Tensor, Tensor]:
    """Returns I(f;s) and H(f) + H(s) in nats for each source, (2,B)."""
    joint = torch.stack([_joint_entropies(fused, source, white) for source in sources])
    held = _entropies(_histograms(fused)) + torch.stack([_entropies(_histograms(source)) for source in sources])
    # Rounding may bring the information of independent images below 0.
    return (held - joint).clamp_(min=0), held
