"""The actor that knows which process trains which trials: it starts each one and ends it with its last trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from refusion.runtime.cluster import beside_driver
from refusion.search.trials.stacked.host import TrialHost
from refusion.search.trials.training import TrialPlan


class Place(NamedTuple):
    """Node, by Ray's id, and GPU, as CUDA_VISIBLE_DEVICES names it; empty for none."""

    node: str
    gpu: str


@dataclass
class _Host:
    handle: Any
    place: Place
    members: set[str] = field(default_factory=set)


class TrialHosts:
    """State of the actor; a plain class, so that it is tested without Ray.

    Hosts belong to it, and end with it as it ends with the job.

    Args:
        start: starts a host in a place, and returns its handle.
        free: frees a member's slot in a host.
        end: ends a host.
        together: trials of a host.
    """

    def __init__(
        self,
        start: Callable[[Place], Any],
        free: Callable[[Any, str], None],
        end: Callable[[Any], None],
        together: int,
    ) -> None:
        self.start, self.free, self.end, self.together = start, free, end, together
        self._hosts: dict[int, _Host] = {}
        self._started = 0

    def enter(self, member: str, place: Place) -> tuple[int, Any]:
        """Number and handle of the host in which a process trains its trials from now on; the same as before, if any.

        A GPU has one host: Ray gives out no more shares of it than the host has slots. Without GPUs a node has as many
        as it takes.

        Args:
            member: the process, by the id of Ray's actor.
            place: of the process.
        """
        here = {number: host for number, host in self._hosts.items() if host.place == place}
        own = (number for number, host in here.items() if member in host.members)
        not_full = (number for number, host in here.items() if place.gpu or len(host.members) < self.together)
        number = next(own, None) or next(not_full, None)
        if number is None:
            self._started += 1
            number = self._started
            self._hosts[number] = _Host(self.start(place), place)
        self._hosts[number].members.add(member)
        return number, self._hosts[number].handle

    def leave(self, member: str) -> None:
        """Frees the slot of a process that trains no more; its host ends if it was the last."""
        for number, host in list(self._hosts.items()):
            if member in host.members:
                host.members.discard(member)
                self.free(host.handle, member)
                if not host.members:
                    self.lost(number)

    def lost(self, number: int) -> None:
        """Forgets a host that does not answer, and ends it where only the way to it was lost."""
        host = self._hosts.pop(number, None)
        if host is not None:
            self.end(host.handle)


def start_hosts(plan: TrialPlan, progress_board: Any, together: int) -> Any:
    """Handle of a new actor on this node, which takes no CPU from the trials and lives as long as the job."""
    where = beside_driver()
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=where)(TrialHosts)
    return actor.remote(partial(_start, plan, progress_board, together), _free, ray.kill, together)


def _free(host: Any, member: str) -> None:
    host.drop.remote(member)


def _start(plan: TrialPlan, progress_board: Any, together: int, place: Place) -> Any:
    # It takes no resources: those that its trials have reserved are its own. One more call at a time than there are
    # slots, and as many again, so that nothing waits for a trial's epoch.
    options = ray.remote(num_cpus=0, max_concurrency=2 * together + 2)
    where = NodeAffinitySchedulingStrategy(place.node, soft=False)
    return options(TrialHost).options(scheduling_strategy=where).remote(plan, progress_board, together, place.gpu)
