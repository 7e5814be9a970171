"""Decisions on trials of several workers: the scheduler decides after an epoch, and the workers wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from refusion.runtime.cluster import beside_driver


class Decisions:
    """State of the actor: one decision per trial and epoch, of which the first counts.

    Such a trial ends by itself. Stopped from outside while Ray Train starts or ends, it would leave its workers' places
    taken, and the next trial would wait for ever.
    """

    def __init__(self) -> None:
        self._decisions: dict[tuple[int, int], asyncio.Future[bool]] = {}

    def _of(self, number: int, epoch: int) -> asyncio.Future[bool]:
        return self._decisions.setdefault((number, epoch), asyncio.get_running_loop().create_future())

    async def give(self, number: int, epoch: int, goes_on: bool) -> None:
        """Set the decision on a trial's epoch."""
        decision = self._of(number, epoch)
        if not decision.done():
            decision.set_result(goes_on)

    async def get(self, number: int, epoch: int) -> bool:
        """True where the trial goes on after that epoch; waits until that is decided."""
        # A worker that is lost while it waits must not take the decision from the others.
        return await asyncio.shield(self._of(number, epoch))


def start_decisions() -> Any:
    """A handle of a new actor on this node; it takes no CPU from the workers and lives as long as the job."""
    return ray.remote(num_cpus=0, scheduling_strategy=beside_driver())(Decisions).remote()
