"""Whether a trial of several workers goes on: the scheduler says so after an epoch, and the workers wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import ray


class Verdicts:
    """What the actor keeps; one verdict per trial and epoch, of which the first counts.

    Such a trial ends by itself. Stopped from outside while Ray Train starts or ends, it would leave its workers' places
    taken, and the next trial would wait for ever.
    """

    def __init__(self) -> None:
        self._verdicts: dict[tuple[int, int], asyncio.Future[bool]] = {}

    def _of(self, number: int, epoch: int) -> asyncio.Future[bool]:
        return self._verdicts.setdefault((number, epoch), asyncio.get_running_loop().create_future())

    async def give(self, number: int, epoch: int, goes_on: bool) -> None:
        """The scheduler has judged a trial's epoch."""
        verdict = self._of(number, epoch)
        if not verdict.done():
            verdict.set_result(goes_on)

    async def get(self, number: int, epoch: int) -> bool:
        """Whether the trial goes on after that epoch; waits until that is known."""
        # A worker that is lost while it waits must not take the verdict from the others.
        return await asyncio.shield(self._of(number, epoch))


def start_verdicts() -> Any:
    """A handle of a new actor; it takes no CPU from the workers and lives as long as the job."""
    return ray.remote(num_cpus=0)(Verdicts).remote()
