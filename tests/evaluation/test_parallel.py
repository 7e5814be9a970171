"""Scoring without Ray; tests/jobs/test_evaluate.py covers the workers."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch

from refusion.errors import UserError
from refusion.evaluation.methods import Method
from refusion.evaluation.parallel import score_all
from refusion.evaluation.scoring import Scorer
from refusion.evaluation.work_items import Scene, WorkItem
from refusion.images.pairs import Pair

MEAN = Method("mean", "baseline", "average")


def test_one_worker_scores_in_order_on_one_thread_without_ray(
    pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr("refusion.runtime.cluster.connect", never)
    items = [WorkItem(MEAN, Scene(pair)) for pair in pairs]
    told: list[tuple[int, int]] = []
    threads = []

    def on_progress(done: int, of: int) -> None:
        told.append((done, of))
        threads.append((torch.get_num_threads(), cv2.getNumThreads()))

    torch.set_num_threads(2)
    try:
        found = score_all(Scorer(("EN",), "authors"), items, workers=1, on_progress=on_progress)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert found == [Scorer(("EN",), "authors").score(item) for item in items]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert set(threads) == {(1, 1)}
    assert score_all(Scorer(("EN",), "authors"), items[:1]) == found[:1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(pairs: list[Pair]) -> None:
    with pytest.raises(UserError, match=r"--gpu: there is no CUDA device"):
        score_all(Scorer(("EN",), "authors"), [WorkItem(MEAN, Scene(pairs[0]))], gpu=True)


def test_a_file_that_is_gone_is_named(pairs: list[Pair]) -> None:
    Path(pairs[1].a).unlink()
    with pytest.raises(UserError, match=r"a/three\.png: cannot be read"):
        score_all(Scorer(("EN",), "authors"), [WorkItem(MEAN, Scene(pair)) for pair in pairs], workers=1)
