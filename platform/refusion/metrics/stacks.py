"""Metrics of a picture that was fused of more than two sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from refusion.errors import UserError
from refusion.metrics.families.exposure import SMALLEST_SIDE_OF_SCALES, multi_scale_mef_ssim
from refusion.metrics.inputs import Image, as_batches, as_saved
from refusion.metrics.lookup import DEFAULT_CONVENTION, find_definitions
from refusion.metrics.suite import evaluate

_OF_ALL = "MEF-SSIM"


@torch.no_grad()
def evaluate_stack(
    fused: Image, sources: Sequence[Image], metrics: Iterable[str] | None = None, convention: str = DEFAULT_CONVENTION
) -> dict[str, Tensor]:
    """Scores fused images against all sources of a stack.

    Every metric is the mean of its scores against each two of the sources, so that of two sources it is what
    ``evaluate`` gives; MEF-SSIM, which is defined for any number (Ma, Zeng & Wang 2015), takes all together in the
    convention ``authors``.

    Args:
        fused: as for ``evaluate``.
        sources: two or more, as ``a`` and ``b`` of ``evaluate``.
        metrics, convention: as for ``evaluate``.

    Returns:
        Scores as ``evaluate`` returns them.

    Raises:
        UserError: as for ``evaluate``; or there are fewer than two sources.

    Example:
        >>> import numpy as np
        >>> a, b, c = (np.full((8, 8), value) for value in (10.0, 20.0, 30.0))
        >>> evaluate_stack(b, [a, b, c], ["MSE"])["MSE"].round(decimals=4)
        tensor([66.6667], dtype=torch.float64)
    """
    if len(sources) < 2:
        raise UserError(f"a stack has two sources or more, but this one has {len(sources)}")
    names = list(find_definitions(metrics, convention))
    together = convention == DEFAULT_CONVENTION and _OF_ALL in names
    of_pairs = [name for name in names if not (together and name == _OF_ALL)]
    scores: dict[str, Tensor] = {}
    if of_pairs:
        each = [evaluate(fused, a, b, of_pairs, convention) for a, b in combinations(sources, 2)]
        scores = {name: torch.stack([score[name] for score in each]).mean(0) for name in of_pairs}
    if together:
        batches = [as_batches(fused, source, source)[:2] for source in sources]
        if min(batches[0][0].shape[-2:]) < SMALLEST_SIDE_OF_SCALES:
            evaluate(fused, sources[0], sources[1], [_OF_ALL], convention)  # refuses it by name
        stack = torch.stack([source.double() for _, source in batches])
        scores[_OF_ALL] = multi_scale_mef_ssim(as_saved(batches[0][0]), stack)
    return {name: scores[name] for name in names}
