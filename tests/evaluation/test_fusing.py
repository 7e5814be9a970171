from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from refusion.baselines import fuse_baseline
from refusion.evaluation.fusing import fuse_by_baseline, fuse_by_module, grey_levels
from refusion.fuse import fuse_pair
from refusion.images.pairs import Pair
from refusion.images.reading import read_image
from refusion.images.store import PairStore
from refusion.networks import FusionModule
from refusion.runtime.distributed import Shard
from refusion.training.validation import average_baseline, measure, validate


def test_a_module_gives_what_validation_scores_and_what_fuse_writes(module: FusionModule, pairs: list[Pair]) -> None:
    a, b = read_image(Path(pairs[0].a)), read_image(Path(pairs[0].b))
    fused = fuse_by_module(module, a, b)
    assert fused.picture is not None
    assert np.array_equal(fused.picture, fuse_pair(module, a, b))
    store = PairStore(pairs)
    loss_proposal = torch.nn.Identity()
    shard = Shard(0, 1)
    validated = validate(module, loss_proposal, store, [0], shard=shard, pictures=0, device=torch.device("cpu"))  # type: ignore[arg-type]
    assert measure(fused.luminance, store.sources(0)) == validated.scores["one"]  # type: ignore[arg-type]


def test_the_average_is_that_of_validation(pairs: list[Pair]) -> None:
    a, b = read_image(Path(pairs[1].a)), read_image(Path(pairs[1].b))
    fused = fuse_by_baseline("average", a, b)
    store = PairStore(pairs)
    expected = average_baseline(store, [1], Shard(0, 1)).scores["three"]
    assert measure(fused.luminance, store.sources(1)) == expected  # type: ignore[arg-type]


def test_a_baseline_gives_its_own_picture(pairs: list[Pair]) -> None:
    a, b = read_image(Path(pairs[0].a)), read_image(Path(pairs[0].b))
    fused = fuse_by_baseline("laplacian", a, b)
    assert fused.picture is not None
    assert np.array_equal(fused.picture, fuse_baseline("laplacian", a, b, "IVIF"))
    assert fused.luminance.dtype == np.uint8
    # What the file gives back differs by no more than rounding and the clipping of colours.
    assert np.abs(grey_levels(fused.picture) - fused.luminance).mean() < 1


def test_grey_files_keep_their_grey_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.rint(grey_levels(levels)), levels)
    assert np.array_equal(np.rint(grey_levels(np.dstack([levels] * 3))), levels)
