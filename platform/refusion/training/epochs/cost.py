"""Cost of an epoch: CPU- and GPU-seconds of all its workers, and the pairs that it has seen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from refusion.runtime.distributed import gather_on_all
from refusion.training.epochs.plan import EpochPlan

CPU_SECONDS, GPU_SECONDS, PAIRS_SEEN = "time/cpu_seconds", "time/gpu_seconds", "pairs_seen"


@dataclass
class EpochCost:
    """Cost since the epoch began, in this process; what came before a restart within the epoch is not in it.

    Args:
        uses_gpu: True where the modules are on a GPU.
    """

    uses_gpu: bool
    _cpu: float = field(default_factory=time.process_time)
    _wall: float = field(default_factory=time.perf_counter)

    def numbers(self, plan: EpochPlan) -> dict[str, float]:
        """Returns CPU-seconds (of all threads), GPU-seconds (in which a GPU was held), and pairs, of all workers.

        A pair counts each time that a crop of it is fed. Every worker must call it.
        """
        wall = time.perf_counter() - self._wall
        parts = gather_on_all((time.process_time() - self._cpu, wall if self.uses_gpu else 0.0))
        pairs = plan.batch * (plan.meta_iterations * plan.parts + plan.fusion_updates)
        return {
            CPU_SECONDS: sum(cpu for cpu, _ in parts),
            GPU_SECONDS: sum(gpu for _, gpu in parts),
            PAIRS_SEEN: float(pairs),
        }
