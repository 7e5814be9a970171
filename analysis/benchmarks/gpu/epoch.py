"""Whole epochs as a training runs them, with their data: crops, graphs, one look at the losses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from gpu.rows import Row
from numpy.typing import NDArray

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.pairs import Pair
from refusion.images.store import PairStore
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard
from refusion.training.loop import TaskTraining
from refusion.training.step_graphs import StepGraphs

SIDE = {"cuda": (480, 640), "cpu": (24, 32)}
# Meta-iterations, pairs, crop; the fusion updates are one pass over the pairs.
WORK = {"cuda": (600, 150, 96), "cpu": (2, 4, 16)}


class _Drawn(PairStore):
    """Pairs of random bytes, without files."""

    def __init__(self, count: int, height: int, width: int) -> None:
        super().__init__([Pair(str(number), "", "", height, width, digest="") for number in range(count)])
        draw = np.random.default_rng(0)
        self._drawn = draw.integers(0, 256, (count, 2, height, width), dtype=np.uint8)

    def planes(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The luminance of a pair."""
        return self._drawn[index, 0], self._drawn[index, 1]


def epoch_rows(device: str) -> Iterator[Row]:
    """Seconds of an epoch after one in which everything is captured."""
    iterations, pairs, crop = WORK[device]
    settings = _settings(device)
    state = TrainingState(settings, "IVIF", device)
    store, notes = _Drawn(pairs, *SIDE[device]), list[str]()
    training = TaskTraining(settings, "IVIF", store, store, Shard(), torch.device(device), note=notes.append)
    training.begin(state)
    graphs = StepGraphs(state, training.device, notes.append)
    for epoch in range(2):
        start = time.perf_counter()
        numbers = training.train_epoch(state, graphs)
        if device == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - start
        state.end_epoch()
        what = f"{iterations} meta-iterations and a pass over {pairs} pairs"
        if not epoch:
            what += ", the first, which captures"
        rate = f"{numbers['images_per_second']:.0f} pairs a second, batch 4, {crop}×{crop}"
        yield Row("epoch", what, spent, "s", note="; ".join([rate, *notes]))


def _settings(device: str) -> Settings:
    iterations, _, crop = WORK[device]
    small = {} if device == "cuda" else {"network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8}}
    return check(
        [
            {
                "gpu": device == "cuda",
                "schedule": {"epochs": 3, "meta_iterations": iterations, "fusion_steps": None},
                "images": {"crop": crop, "batch": 4},
                "validation": {"at_start": False},
                **small,
            }
        ]
    )
