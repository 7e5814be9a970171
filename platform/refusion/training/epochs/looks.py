"""When a training looks at its numbers within an epoch: each look waits for all that the device still has to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

# Steps between two looks where there is nothing to wait for, and of several workers on GPUs, which look together.
_ON_CPU, _TOGETHER = 10, 100
# Seconds between two looks of one worker on a GPU.
_ON_GPU = 5.0


@dataclass
class Looks:
    """Looks of one epoch.

    Args:
        on_gpu: steps run behind what was asked for.
        workers: their number; all look after the same steps.

    >>> looks = Looks(on_gpu=False, workers=1)
    >>> [done for done in range(1, 33) if looks.is_due(done, 32)]
    [1, 10, 20, 30, 32]
    >>> looks = Looks(on_gpu=True, workers=2)
    >>> [done for done in range(1, 251) if looks.is_due(done, 250)]
    [100, 200, 250]
    """

    on_gpu: bool
    workers: int
    _last: float = field(default_factory=time.monotonic)

    def is_due(self, done: int, of: int) -> bool:
        """Tells whether to look after so many of a phase's steps, at least after its last."""
        if not self.on_gpu:
            return done % _ON_CPU == 0 or done in (1, of)
        if self.workers > 1:
            return done % _TOGETHER == 0 or done == of
        now = time.monotonic()
        if done < of and now - self._last < _ON_GPU:
            return False
        self._last = now
        return True
