"""Pictures of the gallery: sources, ours, published and the best baseline, found where an evaluation saved them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refusion.baselines import BASELINES
from refusion.errors import UserError
from refusion.evaluation.ranking import QUALITY, mean_ranks, means_of
from refusion.evaluation.results import MethodScores
from refusion.evaluation.scenes import pairs_of_split
from refusion.fuse.insets import Image, most_different_window
from refusion.images.reading import read_image
from refusion.images.store import read_pair
from refusion.results.gallery import most_different_pair, png_bytes
from refusion.tasks import find_task


def best_baseline(methods: Sequence[MethodScores]) -> str | None:
    """Returns the classical method of the best mean rank over SCD, VIF, Qabf and SSIM; None where there is none."""
    found = mean_ranks(means_of(methods), QUALITY)
    classical = found[[name in BASELINES for name in found.index]].dropna()
    return None if classical.empty else str(classical.idxmin())


def gallery_of(
    task: str, data: str, split: str, methods: Sequence[MethodScores], folder: Path, shown: Sequence[str]
) -> tuple[str, bytes]:
    """Returns the name of the pair on which the shown methods differ most, and its row of pictures as a PNG file.

    Args:
        task: its name.
        data: folder of the pairs, or "builtin".
        split: of them.
        methods: all scores.
        folder: holds METHOD/NAME.png, as jobs/evaluate.py --save leaves it.
        shown: methods whose pictures are shown; the best classical one is added.

    Raises:
        UserError: a method has no scores, or a picture is missing.
    """
    by_name = {method.name: method for method in methods}
    best = best_baseline(methods)
    names = [*shown, *([best] if best and best not in shown else [])]
    missing = [name for name in names if name not in by_name]
    if missing or len(names) < 2:
        raise UserError(f"--scores: holds no scores of {', '.join(missing) or 'two methods'}")
    name = most_different_pair([by_name[method] for method in names])
    pair = next((pair for pair in pairs_of_split(data, task, split) if pair.name == name), None)
    if pair is None:
        raise UserError(f"--scores: the pair {name!r} is none of --data {data}, {split}")
    fused = {method: _picture(folder / method / f"{name}.png") for method in names}
    facts = find_task(task)
    titles = {"a": facts.a, "b": facts.b}
    pictures = {titles[side]: _shown(source) for side, source in zip("ab", read_pair(pair), strict=True)} | fused
    return name, png_bytes(pictures, most_different_window(list(fused.values())))


def _picture(file: Path) -> Image:
    if not file.is_file():
        raise UserError(f"--pictures: there is no {file}; make it with jobs/evaluate.py --save")
    return _shown(read_image(file))


def _shown(levels: NDArray[np.float32]) -> Image:
    return np.rint(levels).clip(0, 255).astype(np.uint8)
