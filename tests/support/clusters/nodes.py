"""A cluster of two nodes on this machine, of which one can be taken away and be brought back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psutil
import ray
from ray.cluster_utils import Cluster

from refusion.runtime import cluster
from refusion.runtime.ray_internals import on_loopback


class TwoNodes:
    """The driver's node and another one, of as many CPUs each."""

    def __init__(self, of: Cluster, cpus: int) -> None:
        self.of, self.cpus = of, cpus
        self.other: Any = None
        self._threads = ThreadPoolExecutor(1)
        self.add()

    def add(self) -> None:
        """Bring the other node back, where it is not there."""
        if self.other is None:
            # Its processes end with the thread that started them.
            self.other = self._threads.submit(self._start).result()

    def _start(self) -> Any:
        # Where Ray cannot set its handler of SIGTERM.
        with patch("signal.signal"):
            return self.of.add_node(num_cpus=self.cpus)

    def trials(self) -> int:
        """Count the processes of a sweep's trials on the other node."""
        children = psutil.Process(self.other.all_processes["raylet"][0].process.pid).children()
        return sum("Trial" in " ".join(child.cmdline()) for child in children)

    def lose(self) -> None:
        """Kill all processes of the other node."""
        self.of.remove_node(self.other, allow_graceful=False)
        self.other = None


@contextmanager
def two_nodes(cpus: int = 1) -> Iterator[TwoNodes]:
    """Yields the cluster, of so many CPUs each; jobs find it at RAY_ADDRESS, which the caller sets to its address."""
    ray.shutdown()
    cluster._close_to_others()
    # To the end: who joins would otherwise look for the head at the machine's own address.
    with on_loopback():
        of = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
        try:
            yield TwoNodes(of, cpus)
        finally:
            ray.shutdown()
            of.shutdown()
