"""Losses of a user's own that fail, on one worker of several or alone, named by ``--objective.kind broken.parts:…``."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from refusion.objectives import FusionWeights, fusion_loss

# Folder in which a test creates a file once its fault is to happen, and the losses' own count of it.
FAULTS = "REFUSION_TEST_FAULTS"
SLOW_SECONDS = 0.25


def _due(name: str, rank: int) -> bool:
    return dist.is_initialized() and dist.get_rank() == rank and (Path(os.environ[FAULTS]) / name).exists()


def raising(fused: Tensor, sources: Tensor, weights: FusionWeights) -> Tensor:
    """Raises an exception on the second worker once a file ``raise`` is there."""
    if _due("raise", 1):
        raise ValueError("this loss has had enough")
    return fusion_loss(fused, sources, weights)


def ending(fused: Tensor, sources: Tensor, weights: FusionWeights) -> Tensor:
    """Ends its process once a file ``end`` is there, which it takes away."""
    fault = Path(os.environ[FAULTS]) / "end"
    with suppress(FileNotFoundError):
        fault.unlink()
        os._exit(1)
    return fusion_loss(fused, sources, weights)


def not_a_number(fused: Tensor, sources: Tensor, weights: FusionWeights) -> Tensor:
    """NaN on the second worker once a file ``nan`` is there."""
    loss = fusion_loss(fused, sources, weights)
    return loss * torch.nan if _due("nan", 1) else loss


def slow(fused: Tensor, sources: Tensor, weights: FusionWeights) -> Tensor:
    """Takes a fixed time, whatever else the machine does."""
    time.sleep(SLOW_SECONDS)
    return fusion_loss(fused, sources, weights)


def holding(fused: Tensor, sources: Tensor, weights: FusionWeights) -> Tensor:
    """Waits for as long as a file ``hold`` is there."""
    while (Path(os.environ[FAULTS]) / "hold").exists():
        time.sleep(0.05)
    return fusion_loss(fused, sources, weights)
