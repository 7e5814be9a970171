"""Fits side by side on Ray's cluster, a CPU and a thread each, or one after the other in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from refusion.audit.fit import Pictures, fit_reward
from refusion.audit.methods import Fused
from refusion.audit.options import FitOptions
from refusion.audit.rewards import NamedReward
from refusion.audit.stacked import fit_stacked
from refusion.config.precision import InferencePrecision
from refusion.errors import UserError
from refusion.ops.backend import configure

# Maps of so many fits of width 32 on batches of 8 crops of 80 px take some 15 GB.
_STACKED = 32


@dataclass(frozen=True)
class Fit:
    """One fit to be done: the method's name, the reward and the options."""

    method: str
    reward: NamedReward
    options: FitOptions


Done = tuple[Fit, list[float], float]
"""A fit, its losses on the val pictures, and the seconds it took."""


def run_fits(
    fits: Sequence[Fit],
    fused: Mapping[str, Fused],
    *,
    device: str = "cpu",
    precision: InferencePrecision = "float32",
    workers: int | None = None,
) -> Iterator[Done]:
    """Yields each fit as it is done, in any order.

    Args:
        fits: to be done.
        fused: pictures by the method's name.
        device: "cpu", or "cuda", where the fits run in this process without Ray.
        precision: of that.
        workers: fits at once; None for as many as the cluster has CPUs. One does without Ray.

    Raises:
        UserError: the cluster cannot be used, or a worker ended.
    """
    if device != "cpu":
        with configure(device, precision=precision):
            yield from _fit_stacked(fits, fused, device)
    elif workers == 1 or len(fits) <= 1:
        yield from (_fit_here(fit, fused[fit.method]) for fit in fits)
    else:
        yield from _fit_on_cluster(fits, fused, workers)


def _fit_stacked(fits: Sequence[Fit], fused: Mapping[str, Fused], device: str) -> Iterator[Done]:
    """Fits all methods and seeds of a reward and a setting at once; the seconds are shared out evenly."""
    groups: dict[tuple[NamedReward, FitOptions], list[Fit]] = {}
    for fit in fits:
        groups.setdefault((fit.reward, replace(fit.options, seed=0)), []).append(fit)
    for (reward, _), group in groups.items():
        function = reward.load()
        for first in range(0, len(group), _STACKED):
            together = group[first : first + _STACKED]
            begin = time.monotonic()
            pictures = [fused[fit.method] for fit in together]
            options = [fit.options for fit in together]
            found = fit_stacked(
                [one.train for one in pictures], [one.val for one in pictures], function, options, device
            )
            seconds = (time.monotonic() - begin) / len(together)
            yield from ((fit, losses, seconds) for fit, losses in zip(together, found, strict=True))


def _fit_here(fit: Fit, fused: Fused) -> Done:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return (fit, *_timed(fit, fused.train, fused.val))
    finally:
        torch.set_num_threads(threads)


def _timed(fit: Fit, train: Pictures, val: Pictures) -> tuple[list[float], float]:
    start = time.monotonic()
    losses = fit_reward(train, val, fit.reward.load(), fit.options)
    return losses, time.monotonic() - start


def _fit_on_cluster(fits: Sequence[Fit], fused: Mapping[str, Fused], workers: int | None) -> Iterator[Done]:
    # A machine with a GPU and without Ray fits in this process.
    import ray

    from refusion.runtime import cluster

    resources = cluster.connect()
    concurrency = min(workers or len(fits), max(1, int(sum(node.cpus for node in resources.nodes))))
    remote: Callable[..., Any] = ray.remote(num_cpus=1, max_retries=2)(_fit_here).remote
    sent = {name: ray.put(pictures) for name, pictures in fused.items() if any(fit.method == name for fit in fits)}
    running: dict[Any, Fit] = {}
    waiting = iter(fits)
    try:
        while True:
            while len(running) < concurrency and (fit := next(waiting, None)) is not None:
                running[remote(fit, sent[fit.method])] = fit
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            fit = running.pop(ready)
            try:
                done: Done = ray.get(ready)
            except (ray.exceptions.OutOfMemoryError, ray.exceptions.WorkerCrashedError) as error:
                raise UserError(f"{fit.method}: a worker ended while it fitted; try fewer --workers") from error
            yield done
    finally:
        for task in running:
            ray.cancel(task)
