"""Independent items spread over Ray's cluster, a CPU each: sent as they are needed, taken back as they are done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
import ray
import torch
from ray import cloudpickle

from refusion.errors import UserError
from refusion.import_path import use_import_folders
from refusion.runtime import cluster
from refusion.runtime.distributed import use_threads

Item = TypeVar("Item")

# One GPU's memory holds several forward passes at full size, but not one for every CPU.
_LEAST_GPU_FRACTION = 0.25


class WorkerEndedError(Exception):
    """A worker that ended, or was ended for its memory, each time that it was given an item."""


def find_places(workers: int | None, count: int, *, gpu: bool, option: str) -> tuple[int, float]:
    """Joins or starts a cluster; returns how many items go side by side, and the fraction of a GPU for each.

    Args:
        workers: items at once; None for as many as the cluster has CPUs.
        count: number of items.
        gpu: each takes a fraction of a GPU.
        option: that asked for GPUs, for the message.

    Raises:
        UserError: there is no GPU, or Ray cannot be used.
        MachineError: Ray was started here, but does not answer in time.
    """
    resources = cluster.connect()
    concurrency = min(workers or count, max(1, int(sum(node.cpus for node in resources.nodes))), count)
    gpus = sum(node.gpus for node in resources.nodes) if gpu else 0.0
    if gpu and not gpus:
        raise UserError(f"{option}: there is no GPU in this cluster; leave {option} out or join a node that has one")
    return concurrency, min(1.0, max(_LEAST_GPU_FRACTION, gpus / concurrency)) if gpu else 0.0


def spread(
    function: Callable[[Any, Item, str], Any],
    common: Any,
    items: Sequence[Item],
    concurrency: int,
    gpu_of: Callable[[Item], float] = lambda _item: 0.0,
) -> Generator[tuple[int, Any]]:
    """Yields (number of an item, its result) as each is done; a `WorkerEndedError` takes a result's place.

    Close it where not all is taken, so that what is under way is called off.

    Args:
        function: called in a worker, on one thread, as ``function(common, item, device)``; "cuda" or "cpu".
        common: sent to each node once; it may hold networks from the user's own import folders.
        items: sent one by one.
        concurrency: items under way at once.
        gpu_of: fraction of a GPU that an item takes.
    """
    remote = ray.remote(num_cpus=1, max_retries=2)(_on_one_thread)
    sent = ray.put(Packed((function, common)))
    running: dict[Any, int] = {}
    waiting = iter(enumerate(items))
    try:
        while True:
            while len(running) < concurrency and (following := next(waiting, None)) is not None:
                index, item = following
                fraction = gpu_of(item)
                task = remote.options(num_gpus=fraction).remote(sent, item, "cuda" if fraction else "cpu")
                running[task] = index
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(ready)
            try:
                result = ray.get(ready)
            except (ray.exceptions.OutOfMemoryError, ray.exceptions.WorkerCrashedError):
                result = WorkerEndedError()
            yield index, result
    finally:
        for task in running:
            ray.cancel(task)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits torch and OpenCV to one thread: a sum's last digits depend on the number of threads that share it."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    use_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        use_threads(before[0])
        cv2.setNumThreads(before[1])


class Packed:
    """Pickles an object so that a worker adds the user's import folders before it unpickles a network from there."""

    def __init__(self, held: Any) -> None:
        self.content = cloudpickle.dumps(held)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return _unpacked, (self.content,)


def _unpacked(content: bytes) -> Any:
    """Unpickles an object in a worker."""
    use_import_folders()
    return cloudpickle.loads(content)


def _on_one_thread(sent: Any, item: Any, device: str) -> Any:
    function, common = sent
    with one_thread():
        return function(common, item, device)
