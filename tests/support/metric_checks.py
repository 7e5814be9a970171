"""Checks that the tests of several metric families make on each metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def score(compute: Compute, f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(image).double()[None] for image in (f, a, b))
    return compute(fused, torch.stack(sources)).item()


def check_against_oracle(evaluators: Path, convention: str, metric: str, compute: Compute) -> None:
    table = pd.read_csv(evaluators / "values.csv")
    rows = table[(table.convention == convention) & (table.metric == metric)]
    for row in rows.itertuples():
        names = (f"{row.task}__{row.stem}__{kind}.png" for kind in (row.method, "a", "b"))
        triple = (cv2.imread(str(evaluators / "images" / name), cv2.IMREAD_GRAYSCALE) for name in names)
        assert score(compute, *triple) == pytest.approx(row.value, rel=1e-6, nan_ok=True), (
            row.task,
            row.stem,
            row.method,
        )
    assert len(rows) == 16


def check_batch_and_nan(compute: Compute, needs_sources: bool, pair_of_triples) -> None:
    alone = [score(compute, *triple) for triple in pair_of_triples]
    images = torch.from_numpy(np.array(pair_of_triples)).double().transpose(0, 1)
    assert compute(images[0], images[1:]).tolist() == pytest.approx(alone, rel=1e-12)
    for which in range(3):
        spoilt = images.clone()
        spoilt[which, 1, 3, 4] = torch.nan
        first, second = compute(spoilt[0], spoilt[1:]).tolist()
        assert first == pytest.approx(alone[0], rel=1e-12)
        assert math.isnan(second) == (which == 0 or needs_sources)


def same_to_all(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    yield f, b, a
    yield tuple(image[::-1].copy() for image in (f, a, b))
    yield tuple(image[:, ::-1].copy() for image in (f, a, b))
    yield tuple(image.T.copy() for image in (f, a, b))
