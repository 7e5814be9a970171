"""Placement of trials on a cluster: the number that fit side by side, and what each one takes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.runtime.cluster import Cluster, Node
from refusion.search.options import SweepOptions


@dataclass(frozen=True)
class Placement:
    """Trials at a time, threads of each process, resources that Tune reserves per trial, and trials of each process."""

    concurrent: int
    threads: int
    resources: dict[str, float]
    together: int = 1

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        each = f"{threads} each" if self.together == 1 else f"{self.together} in a process of {threads}"
        return f"{self.concurrent} at a time, {each}"


def find_placement(cluster: Cluster, options: SweepOptions, base: Settings) -> Placement:
    """Places a sweep's trials.

    A trial of one worker takes its threads' CPUs (and its share of a GPU) and trains in its own process. One of several
    workers takes a CPU for its driver besides what Ray Train then takes for the workers, so that as many trials are
    begun as can also have their workers: a trial whose workers do not fit would wait for ever. Where several trials
    train in one process, each takes its share of what the process would take.

    Raises:
        UserError: not even one trial fits; says what is asked for and what there is.
    """
    if base.gpu and not any(node.gpus for node in cluster.nodes):
        raise UserError("--gpu: there is no GPU in this cluster; leave --gpu out or join a node that has one")
    most = options.max_concurrent or options.trials + 1
    together = min(options.trials_per_gpu, most)
    threads = base.threads or _threads(cluster, options, base, math.ceil(most / together))
    fitting = _fitting(cluster, options, base, threads)
    if fitting == 0:
        raise UserError(_refusal(cluster, options, base, threads))
    multi_worker = options.workers_per_trial > 1
    resources: dict[str, float] = {"CPU": 1 if multi_worker else threads}
    if base.gpu and not multi_worker:
        resources["GPU"] = options.gpu_per_trial
    if together > 1:
        resources = {kind: _share(amount, together) for kind, amount in resources.items()}
    return Placement(min(fitting * together, most), threads, resources, together)


def _share(amount: float, among: int) -> float:
    """An equal share in Ray's finest unit, so that all of them together are no more than the amount."""
    return math.floor(amount / among * 10_000) / 10_000


def _threads(cluster: Cluster, options: SweepOptions, base: Settings, most: int) -> int:
    """The most threads with which no fewer trials run side by side than with one thread each."""
    wanted = max(min(most, _fitting(cluster, options, base, 1)), 1)
    numbers = range(cluster.default_threads(1), 1, -1)
    return next((threads for threads in numbers if _fitting(cluster, options, base, threads) >= wanted), 1)


def _fitting(cluster: Cluster, options: SweepOptions, base: Settings, threads: int) -> int:
    """Number of trials that fit side by side."""
    if options.workers_per_trial == 1:
        return sum(_trials_on(node, options.gpu_per_trial if base.gpu else None, threads) for node in cluster.nodes)
    workers = options.workers_per_trial
    most = int(sum(node.cpus for node in cluster.nodes)) // (1 + workers * threads)
    fitting = (
        trials for trials in range(most, 0, -1) if _workers(cluster, base.gpu, threads, trials) >= trials * workers
    )
    return next(fitting, 0)


def _trials_on(node: Node, gpu_share: float | None, threads: int) -> int:
    by_cpu = int(node.cpus // threads)
    # Shares of a GPU do not add up over GPUs; and 1/0.1 may come out below 10.
    return by_cpu if gpu_share is None else min(by_cpu, int(node.gpus) * int(1 / gpu_share + 1e-9))


def _workers(cluster: Cluster, gpu: bool, threads: int, drivers: int) -> int:
    """Number of workers that still fit beside so many drivers of one CPU each, on whatever nodes those land."""
    fitting = [(node, node.workers(threads, gpu)) for node in cluster.nodes]
    # So many drivers cost a node its first worker, those that take its spare CPUs and one more; then every
    # ``threads`` of them one.
    first = sorted(int(node.cpus - workers * threads) + 1 for node, workers in fitting if workers)
    lost = (
        nodes + (drivers - taken) // threads
        for nodes, taken in enumerate(itertools.accumulate(first), start=1)
        if taken <= drivers
    )
    return sum(workers for _, workers in fitting) - max(lost, default=0)


def _refusal(cluster: Cluster, options: SweepOptions, base: Settings, threads: int) -> str:
    cpus, gpus = (sum(getattr(node, kind) for node in cluster.nodes) for kind in ("cpus", "gpus"))
    workers = options.workers_per_trial
    each = f"{threads} CPU{'s' if threads > 1 else ''}"
    if base.gpu:
        each += " and 1 GPU" if workers > 1 else f" and {options.gpu_per_trial:g} GPU"
    need = f"1 CPU for its driver and {workers} × {each} for its workers" if workers > 1 else each
    asked = f"--workers-per-trial {workers}" if workers > 1 else f"--threads {threads}"
    fewer = "--workers-per-trial or --threads" if workers > 1 else "--threads"
    return (
        f"{asked}: a trial needs {need}, but this cluster ({cpus:g} CPUs, {gpus:g} GPUs) cannot hold one; "
        f"ask for fewer {fewer}, or add nodes"
    )
