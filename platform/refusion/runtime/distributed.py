"""Collectives of one run's workers: averaged gradients, gathered results. One worker does without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One worker's part of every global batch: its rank among ``world`` workers."""

    rank: int = 0
    world: int = 1

    def of(self, batch: int) -> range:
        """Positions of this worker in a global batch of that many pairs (a multiple of the number of workers)."""
        size = batch // self.world
        return range(self.rank * size, (self.rank + 1) * size)


def average_over_workers(flat: Tensor) -> Tensor:
    """Mean of every worker's flat vector: one all-reduce, a plain sum in the vector's dtype.

    The given vector stays as it is; a worker that is alone gets it back itself. The modules are not wrapped in DDP,
    whose hooks know nothing of meta-gradients (docs/method.md, "The exact meta-gradient").
    """
    mean = share_of_mean(flat)
    if mean is None:
        return flat
    sum_over_workers(mean)
    return mean


def share_of_mean(flat: Tensor) -> Tensor | None:
    """Returns this worker's share of the mean over all workers, contiguous; None where it is alone."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    # Dividing first makes the one copy, contiguous, that the all-reduce may overwrite.
    return flat / dist.get_world_size()


def sum_over_workers(shares: Tensor) -> None:
    """Adds every worker's tensor, in place: one all-reduce."""
    dist.all_reduce(shares, op=dist.ReduceOp.SUM)


def gather_on_all(value: T) -> list[T]:
    """Gathers every worker's value, in the order of ranks."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    gathered: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return [item for item in gathered if item is not None]


def said_by_first(flag: bool) -> bool:
    """Returns the first worker's flag on every worker: one message from it to all."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    said = torch.tensor([flag], dtype=torch.uint8, device=device)
    dist.broadcast(said, src=0)
    return bool(said.item())


def said_by_all(flag: bool) -> bool:
    """Returns True on every worker if the flag is True on each: one small all-reduce."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    said = torch.tensor([flag], dtype=torch.uint8, device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MIN)
    return bool(said.item())


def use_threads(threads: int) -> None:
    """Limit torch to this worker's CPUs: threads × processes beyond the cores make a step many times as slow."""
    torch.set_num_threads(threads)
