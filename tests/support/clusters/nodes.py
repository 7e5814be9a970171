"""A cluster of two nodes on this machine, of which one can be taken away and be brought back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import ray
from ray.cluster_utils import Cluster

from refusion.runtime import cluster
from refusion.runtime.ray_internals import on_loopback

# Of the node that the driver is on, and of the other.
_CPUS = 1


class TwoNodes:
    """The driver's node and another one, of a CPU each."""

    def __init__(self, of: Cluster) -> None:
        self.of = of
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
            return self.of.add_node(num_cpus=_CPUS)

    def lose(self) -> None:
        """Kill all processes of the other node."""
        self.of.remove_node(self.other, allow_graceful=False)
        self.other = None


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Yields the cluster; jobs find it at RAY_ADDRESS, which the caller sets to ``nodes.of.address``."""
    ray.shutdown()
    cluster._close_to_others()
    # To the end: who joins would otherwise look for the head at the machine's own address.
    with on_loopback():
        of = Cluster(initialize_head=True, head_node_args={"num_cpus": _CPUS, "include_dashboard": False})
        try:
            yield TwoNodes(of)
        finally:
            ray.shutdown()
            of.shutdown()
