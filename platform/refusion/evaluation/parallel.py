"""Scoring of many work items, spread over Ray's cluster or one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import torch

from refusion.errors import UserError
from refusion.evaluation.scoring import ItemScores, Scorer
from refusion.evaluation.work_items import WorkItem
from refusion.runtime.spread import WorkerEndedError, find_places, one_thread, spread


def score_all(
    scorer: Scorer,
    items: Sequence[WorkItem],
    *,
    workers: int | None = None,
    gpu: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[ItemScores]:
    """Scores all work items and returns their scores in the same order.

    Args:
        scorer: sent to each node once.
        items: sent as paths, which every node must be able to read.
        workers: number of items at once, a CPU each; None for as many as the cluster has CPUs. One worker, or one item,
            does without Ray.
        gpu: trained modules run on a fraction of a GPU.
        on_progress: called with (done, total).

    Raises:
        UserError: an item cannot be scored, there is no GPU, or Ray cannot be used.
    """
    if workers == 1 or len(items) <= 1:
        return list(_score_locally(scorer, items, gpu, on_progress))
    concurrency, fraction = find_places(workers, len(items), gpu=gpu, option="--gpu")
    found: dict[int, ItemScores] = {}

    def gpu_of(item: WorkItem) -> float:
        return fraction if item.method.kind == "checkpoint" else 0.0

    with closing(spread(_score, scorer, items, concurrency, gpu_of)) as results:
        for index, result in results:
            found[index] = _checked(result, items[index])
            on_progress(len(found), len(items))
    return [found[index] for index in range(len(items))]


def _score_locally(
    scorer: Scorer, items: Sequence[WorkItem], gpu: bool, on_progress: Callable[[int, int], None]
) -> Iterator[ItemScores]:
    if gpu and not torch.cuda.is_available():
        raise UserError("--gpu: there is no CUDA device on this machine; leave --gpu out")
    with one_thread():
        for done, item in enumerate(items, start=1):
            yield scorer.score(item, "cuda" if gpu else "cpu")
            on_progress(done, len(items))


def _score(scorer: Scorer, item: WorkItem, device: str) -> ItemScores | str:
    """Scores one item in a worker; a UserError comes back as its message, not as Ray's traceback."""
    try:
        return scorer.score(item, device)
    except UserError as error:
        return str(error)


def _checked(result: ItemScores | str | WorkerEndedError, item: WorkItem) -> ItemScores:
    if isinstance(result, WorkerEndedError):
        name = f"{item.method.name}, {item.scene.pair.name}"
        raise UserError(f"{name}: a worker ended while it scored this picture; try fewer --workers") from result
    if isinstance(result, str):
        raise UserError(result)
    return result
