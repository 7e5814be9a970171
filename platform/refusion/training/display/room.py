"""Says of tasks that wait for machines, every 20 s, what they wait for and what the cluster has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ray.exceptions import RayError
from ray.util.placement_group import placement_group_table

from refusion.config.layers import for_task
from refusion.config.settings import Settings
from refusion.runtime.cluster import Cluster, look, size_of_worker
from refusion.runtime.progress_board import Row

# Seconds after which it is said for the first time, and between two times.
_EVERY = 20.0
# Shown while a task's processes load PyTorch, which takes some ten seconds; on a cluster that grows, a machine may have
# to come first.
WAITS = "Ray starts its worker processes"


@dataclass
class WithRoom:
    """Rows of the progress board, with what is missing where a task finds no room.

    Args:
        rows: reads the board.
        settings: of the job.
        threads: CPUs of a worker.
        find: returns the cluster as it stands, and whether somebody waits for what others hold of it.
        now: seconds on a clock.
    """

    rows: Callable[[], Sequence[Row]]
    settings: Settings
    threads: int
    find: Callable[[], tuple[Cluster, bool]] = field(default=lambda: (look(), _somebody_waits()))
    now: Callable[[], float] = time.monotonic
    _since: dict[str, float] = field(default_factory=dict)
    _said: dict[str, tuple[float, str]] = field(default_factory=dict)

    def __call__(self) -> list[Row]:
        """Returns the rows as they are to be shown."""
        return [replace(row, message=self._message(row)) for row in self.rows()]

    def _message(self, row: Row) -> str:
        if row.state != "restarting" and (row.state, row.message) != ("starting", WAITS):
            for known in (self._since, self._said):
                known.pop(row.task, None)
            return row.message
        waited = self.now() - self._since.setdefault(row.task, self.now())
        looked, said = self._said.get(row.task, (0.0, ""))
        if waited - looked >= _EVERY:
            said = self._what_is_missing(row.task, waited)
            self._said[row.task] = (waited, said)
        return said or row.message

    def _what_is_missing(self, task: str, waited: float) -> str:
        """Returns a line; empty where nothing is, so that the workers will be there in a moment."""
        try:
            cluster, busy = self.find()
        except RayError:
            # Ray goes as the job ends.
            return ""
        least = for_task(self.settings, task).worker_counts[0]
        room = sum(node.workers(self.threads, self.settings.gpu) for node in cluster.present)
        if room >= least and not busy:
            return ""
        s = "" if least == 1 else "s"
        each = size_of_worker(self.threads, self.settings.gpu)
        machines = "1 machine has" if len(cluster.present) == 1 else f"{len(cluster.present)} machines have"
        there = f"the cluster's {machines} room for {room}" if room < least else "others hold them"
        return f"has waited {waited:.0f} s for room for {least} worker{s} of {each}; {there}"


def _somebody_waits() -> bool:
    return any(group["state"] == "PENDING" for group in placement_group_table().values())
