"""Scoring of many work items, spread over Ray's cluster or one after the other in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import ray
import torch

from refusion.errors import UserError
from refusion.evaluation.scoring import ItemScores, Scorer
from refusion.evaluation.work_items import WorkItem
from refusion.import_path import use_import_folders
from refusion.runtime import cluster
from refusion.runtime.distributed import use_threads

# One GPU's memory holds several forward passes at full size, but not one for every CPU.
_LEAST_GPU_FRACTION = 0.25


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
    resources = cluster.connect()
    concurrency = min(workers or len(items), max(1, int(sum(node.cpus for node in resources.nodes))), len(items))
    gpus = sum(node.gpus for node in resources.nodes) if gpu else 0.0
    if gpu and not gpus:
        raise UserError("--gpu: there is no GPU in this cluster; leave --gpu out or join a node that has one")
    return _score_on_cluster(
        scorer, items, concurrency, min(1.0, max(_LEAST_GPU_FRACTION, gpus / concurrency)) if gpu else 0.0, on_progress
    )


def _score_locally(
    scorer: Scorer, items: Sequence[WorkItem], gpu: bool, on_progress: Callable[[int, int], None]
) -> Iterator[ItemScores]:
    if gpu and not torch.cuda.is_available():
        raise UserError("--gpu: there is no CUDA device on this machine; leave --gpu out")
    with _one_thread():
        for done, item in enumerate(items, start=1):
            yield scorer.score(item, "cuda" if gpu else "cpu")
            on_progress(done, len(items))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits torch and OpenCV to one thread: a sum's last digits depend on the number of threads that share it."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    use_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        use_threads(before[0])
        cv2.setNumThreads(before[1])


class _Packed:
    """Pickles a scorer so that a worker adds the user's import folders before it unpickles a network from there."""

    def __init__(self, scorer: Scorer) -> None:
        self.content = pickle.dumps(scorer)

    def __reduce__(self) -> tuple[Callable[[bytes], Scorer], tuple[bytes]]:
        return _unpacked, (self.content,)


def _unpacked(content: bytes) -> Scorer:
    """Unpickles a scorer in a worker."""
    use_import_folders()
    scorer: Scorer = pickle.loads(content)
    return scorer


def _score(scorer: Scorer, item: WorkItem, device: str) -> ItemScores | str:
    """Scores one item in a worker; a UserError comes back as its message, not as Ray's traceback."""
    with _one_thread():
        try:
            return scorer.score(item, device)
        except UserError as error:
            return str(error)


def _score_on_cluster(
    scorer: Scorer,
    items: Sequence[WorkItem],
    concurrency: int,
    gpu_fraction: float,
    on_progress: Callable[[int, int], None],
) -> list[ItemScores]:
    remote = ray.remote(num_cpus=1, max_retries=2)(_score)
    sent = ray.put(_Packed(scorer))
    found: dict[int, ItemScores] = {}
    running: dict[Any, int] = {}
    waiting = iter(enumerate(items))
    try:
        while len(found) < len(items):
            for index, item in waiting:
                fraction = gpu_fraction if item.method.kind == "checkpoint" else 0.0
                task = remote.options(num_gpus=fraction).remote(sent, item, "cuda" if fraction else "cpu")
                running[task] = index
                if len(running) >= concurrency:
                    break
            (ready,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(ready)
            result = _result(ready, items[index])
            found[index] = result
            on_progress(len(found), len(items))
    finally:
        for task in running:
            ray.cancel(task)
    return [found[index] for index in range(len(items))]


def _result(task: Any, item: WorkItem) -> ItemScores:
    try:
        result: ItemScores | str = ray.get(task)
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.WorkerCrashedError) as error:
        name = f"{item.method.name}, {item.scene.pair.name}"
        raise UserError(f"{name}: a worker ended while it scored this picture; try fewer --workers") from error
    if isinstance(result, str):
        raise UserError(result)
    return result
