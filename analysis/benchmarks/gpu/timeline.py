"""Kernels on the device's timeline: how many, how much of the time it computes, how long it waits between them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

Span = tuple[float, float]


class Timeline(NamedTuple):
    """Kernels that a call puts on the device.

    Attributes:
        kernels: how many.
        busy: the share of the time from the first kernel's start to the last one's end in which one runs.
        gap: the median microseconds without a kernel, over the places where there is none.
    """

    kernels: int
    busy: float
    gap: float


def timeline_of(spans: Iterable[Span]) -> Timeline:
    """The timeline of (start, end) of each kernel, in microseconds; kernels may overlap."""
    ordered = sorted(spans)
    if not ordered:
        return Timeline(0, 0.0, 0.0)
    first, reached = ordered[0]
    gaps = []
    for start, end in ordered[1:]:
        if start > reached:
            gaps.append(start - reached)
        reached = max(reached, end)
    whole = reached - first
    return Timeline(len(ordered), 1 - sum(gaps) / whole if whole else 1.0, statistics.median(gaps) if gaps else 0.0)


def profiled(call: Callable[[], object], device: str) -> Timeline:
    """The timeline of one call, after one that warms up. On the CPU its innermost operations count as kernels."""
    call()
    # Else the profiler prints to stderr when it starts and when it stops.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiler:
        call()
        if device == "cuda":
            torch.cuda.synchronize()
    return timeline_of(_span(event) for event in profiler.events() if _is_kernel(event, device))


def _is_kernel(event: Any, device: str) -> bool:
    if device == "cuda":
        return event.device_type.name == "CUDA" and not event.is_user_annotation
    return event.name.startswith("aten::") and not event.cpu_children


def _span(event: Any) -> Span:
    return float(event.time_range.start), float(event.time_range.end)
