"""Evaluation of any set of metrics on a batch of fused images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from refusion.errors import UserError
from refusion.metrics.facts import Definition
from refusion.metrics.filters import pixels_at_once
from refusion.metrics.inputs import Image, as_batches, as_saved, as_sources
from refusion.metrics.lookup import CATALOGUE, CONVENTIONS, DEFAULT_CONVENTION, find_definitions


@torch.no_grad()
def evaluate(
    fused: Image, a: Image, b: Image, metrics: Iterable[str] | None = None, convention: str = DEFAULT_CONVENTION
) -> dict[str, Tensor]:
    """Scores fused images against their two sources.

    Args:
        fused, a, b: pictures on 0–255, torch tensors or NumPy arrays of any float or whole-number type: grey (H,W) or
            RGB (H,W,3), of which the luminance is scored, or batches of grey ones (B,1,H,W). ``fused`` is rounded and
            clipped to whole grey levels as it would be saved; the sources are taken as given, so that two programs
            agree only if both round them or neither does (public evaluators read uint8 files).
        metrics: names from ``CATALOGUE`` (one name, or several), or "all" for every metric of the convention; None for
            its default metrics, which for ``authors`` are ``METRICS``.
        convention: the public evaluator whose definitions apply, a key of ``CONVENTIONS`` (docs/metrics.md). A score
            means nothing without it.

    Returns:
        Scores by metric, (B,) float64 tensors on the device of ``fused``, in the order asked for; (1,) for (H,W)
        images. An image with NaN or infinite values in ``fused``, or NaN in a source, scores NaN in every metric that
        looks at it; so does a flat image wherever its formula comes to 0/0 (SCD, VIF, Qabf).

    Raises:
        UserError: unknown metric or convention; images of different shapes, of no luminance shape, off the 0–255 scale,
            or smaller than a metric's windows.

    Example:
        >>> import numpy as np
        >>> from refusion.metrics import evaluate
        >>> a, b = np.eye(8) * 255, np.full((8, 8), 128.0)
        >>> evaluate((a + b) / 2, a, b, ["EN", "MSE"])["EN"].round(decimals=4)
        tensor([0.5436], dtype=torch.float64)
    """
    return _scores(as_batches(fused, a, b), find_definitions(metrics, convention), convention)


@torch.no_grad()
def evaluate_against(
    fused: Image, truth: Image, metrics: Iterable[str] | None = None, convention: str = DEFAULT_CONVENTION
) -> dict[str, Tensor]:
    """Scores fused images against the one true image, where there is one (multi-focus pairs made of a sharp picture).

    Args:
        fused, truth: as for ``evaluate``; ``truth`` takes the place of both sources.
        metrics: names; None for all metrics of the convention that have such a meaning (``Metric.full_reference``).
        convention: as for ``evaluate``; a score that adds its two sources there is halved here.

    Returns:
        Scores as ``evaluate`` returns them.

    Raises:
        UserError: as for ``evaluate``; or a metric compares with two sources and has no meaning against one image.

    Example:
        >>> import numpy as np
        >>> from refusion.metrics import evaluate_against
        >>> truth = np.full((8, 8), 100.0)
        >>> evaluate_against(truth + 2, truth, ["MSE"])
        {'MSE': tensor([4.], dtype=torch.float64)}
    """
    if metrics is None:
        chosen = {name: d for name, d in find_definitions("all", convention).items() if CATALOGUE[name].full_reference}
    else:
        chosen = find_definitions(metrics, convention)
    for name in chosen:
        if not CATALOGUE[name].full_reference:
            possible = ", ".join(name for name in find_definitions("all", convention) if CATALOGUE[name].full_reference)
            raise UserError(f"{name} has no meaning against one true image: choose from {possible}")
    scores = _scores(as_batches(fused, truth, truth), chosen, convention)
    return {name: score / 2 if chosen[name].adds_sources else score for name, score in scores.items()}


def _scores(
    batches: tuple[Tensor, Tensor, Tensor], chosen: dict[str, Definition], convention: str
) -> dict[str, Tensor]:
    height, width = batches[0].shape[-2:]
    if min(height, width) < 1:
        raise UserError(f"there is nothing to score in images of {height}×{width} pixels")
    for name, definition in chosen.items():
        _check_size(name, definition, height, width)
    images_at_once = max(1, pixels_at_once(batches[0].device.type == "cpu") // (height * width))
    parts: dict[str, list[Tensor]] = {name: [] for name in chosen}
    for f, x, y in zip(*(torch.split(batch, images_at_once) for batch in batches), strict=True):
        saved, sources = as_saved(f), as_sources(x, y)
        if CONVENTIONS[convention].rounds_sources:
            sources = sources.round_()
        for name, definition in chosen.items():
            parts[name].append(definition.compute(saved, sources))
    return {name: torch.cat(scores) for name, scores in parts.items()}


def _check_size(name: str, definition: Definition, height: int, width: int) -> None:
    least = definition.smallest_side
    if min(height, width) < least:
        raise UserError(
            f"{name} needs images of at least {least}×{least} pixels, but these have {height}×{width}: "
            "give larger ones or leave it out"
        )
