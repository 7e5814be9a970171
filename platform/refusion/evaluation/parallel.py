"""Many pieces at once: spread over Ray's cluster, or one after the other in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import ray
import torch

from refusion.errors import UserError
from refusion.evaluation.scoring import Scored, Scorer
from refusion.evaluation.work_items import Piece
from refusion.import_path import use_import_folders
from refusion.runtime import cluster
from refusion.runtime.distributed import use_threads

# Several forward passes at full size fit into one GPU's memory side by side, as many as there may be CPUs do not.
_LEAST_GPU = 0.25


def score_all(
    scorer: Scorer,
    pieces: Sequence[Piece],
    *,
    workers: int | None = None,
    gpu: bool = False,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[Scored]:
    """The results of all pieces, in their order.

    Args:
        scorer: sent to each node once; pieces go as paths, which every node must be able to read.
        workers: so many pieces at once, a CPU each; None: as many as the cluster has CPUs. One worker, like one
            piece, does without Ray.
        gpu: trained modules work on a share of a GPU.
        tell: called with (done, of).

    Raises:
        UserError: a piece cannot be scored, there is no GPU, or Ray cannot be had.
    """
    if workers == 1 or len(pieces) <= 1:
        return list(_here(scorer, pieces, gpu, tell))
    room = cluster.connect()
    at_once = min(workers or len(pieces), max(1, int(sum(node.cpus for node in room.nodes))), len(pieces))
    gpus = sum(node.gpus for node in room.nodes) if gpu else 0.0
    if gpu and not gpus:
        raise UserError("--gpu: there is no GPU in this cluster; leave --gpu out or join a node that has one")
    return _spread(scorer, pieces, at_once, min(1.0, max(_LEAST_GPU, gpus / at_once)) if gpu else 0.0, tell)


def _here(scorer: Scorer, pieces: Sequence[Piece], gpu: bool, tell: Callable[[int, int], None]) -> Iterator[Scored]:
    if gpu and not torch.cuda.is_available():
        raise UserError("--gpu: there is no CUDA device on this machine; leave --gpu out")
    with _one_thread():
        for done, piece in enumerate(pieces, start=1):
            yield scorer.score(piece, "cuda" if gpu else "cpu")
            tell(done, len(pieces))


@contextmanager
def _one_thread() -> Iterator[None]:
    """How many threads share a sum shows in its last digits: one, whoever does the work, gives one result."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    use_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        use_threads(before[0])
        cv2.setNumThreads(before[1])


class _Packed:
    """A scorer on its way: a worker looks into the user's folders before it unpacks a network from there."""

    def __init__(self, scorer: Scorer) -> None:
        self.content = pickle.dumps(scorer)

    def __reduce__(self) -> tuple[Callable[[bytes], Scorer], tuple[bytes]]:
        return _unpacked, (self.content,)


def _unpacked(content: bytes) -> Scorer:
    use_import_folders()
    scorer: Scorer = pickle.loads(content)
    return scorer


def _score(scorer: Scorer, piece: Piece, device: str) -> Scored | str:
    """What a worker does; what is wrong with the piece comes back as its sentence, not as Ray's traceback."""
    with _one_thread():
        try:
            return scorer.score(piece, device)
        except UserError as error:
            return str(error)


def _spread(
    scorer: Scorer, pieces: Sequence[Piece], at_once: int, gpu_share: float, tell: Callable[[int, int], None]
) -> list[Scored]:
    remote = ray.remote(num_cpus=1, max_retries=2)(_score)
    sent = ray.put(_Packed(scorer))
    found: dict[int, Scored] = {}
    running: dict[Any, int] = {}
    waiting = iter(enumerate(pieces))
    try:
        while len(found) < len(pieces):
            for index, piece in waiting:
                share = gpu_share if piece.method.kind == "checkpoint" else 0.0
                task = remote.options(num_gpus=share).remote(sent, piece, "cuda" if share else "cpu")
                running[task] = index
                if len(running) >= at_once:
                    break
            (ready,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(ready)
            result = _result(ready, pieces[index])
            found[index] = result
            tell(len(found), len(pieces))
    finally:
        for task in running:
            ray.cancel(task)
    return [found[index] for index in range(len(pieces))]


def _result(task: Any, piece: Piece) -> Scored:
    try:
        result: Scored | str = ray.get(task)
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.WorkerCrashedError) as error:
        name = f"{piece.method.name}, {piece.picture.pair.name}"
        raise UserError(f"{name}: a worker ended while it scored this picture; try fewer --workers") from error
    if isinstance(result, str):
        raise UserError(result)
    return result
