"""Time of our phases: seconds by the labels that the library puts around its parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from rich.console import RenderableType
from step_epoch import our_fusion_update, our_meta_iteration, settings_of
from step_measuring import Say, Size, ratio, shown, table_of
from torch.profiler import ProfilerActivity, profile, record_function

from refusion.meta.state import TrainingState

WHOLE = "the whole call"
REST = "rest"
# torch labels the steps of its optimisers by itself.
_OF_TORCH = ("Optimizer.", "ProfilerStep")


def seconds_by_label(call: Callable[[], object], device: str = "cpu") -> dict[str, float]:
    """Seconds within each label (`torch.profiler.record_function`) of one call, in order, and the rest.

    Labels inside labels count for the outer one. On the CPU wall time of a profiled call, which is a little slower than
    one that is not; on a GPU the time of its kernels, each counted where it was launched.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    call()
    # Else the profiler prints to stderr when it starts and when it stops.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=activities) as profiler:
        with record_function(WHOLE):
            call()
        if device == "cuda":
            torch.cuda.synchronize()
    return attribute(profiler.events(), kernels=device == "cuda")


def attribute(events: Iterable[Any], kernels: bool) -> dict[str, float]:
    """The same from the profiler's events: by their own time, or by that of the kernels launched within them."""
    events = [event for event in events if event.device_type.name == "CPU"]
    labels = sorted((event for event in events if event.is_user_annotation), key=_start)
    whole = next(event for event in labels if event.name == WHOLE)
    top: list[Any] = []
    for event in labels:
        inside = _start(whole) <= _start(event) < whole.time_range.end
        ours = event is not whole and not event.name.startswith(_OF_TORCH)
        if inside and ours and not (top and _start(event) < top[-1].time_range.end):
            top.append(event)

    # On a GPU's own timeline labels stand as well, and the profiler hands them over with the kernels.
    names = {event.name for event in labels}
    launches = [
        (_start(event), sum(kernel.duration for kernel in event.kernels if kernel.name not in names))
        for event in (events if kernels else ())
    ]

    def microseconds(event: Any) -> float:
        span = event.time_range
        if kernels:
            return float(sum(spent for start, spent in launches if span.start <= start < span.end))
        return float(span.end - span.start)

    found: dict[str, float] = {}
    for event in top:
        found[event.name] = found.get(event.name, 0.0) + microseconds(event) / 1e6
    found[REST] = microseconds(whole) / 1e6 - sum(found.values())
    return found


def section(sizes: list[Size], say: Say) -> list[RenderableType]:
    """Table of the time in a meta-iteration of each size, which differ in K only, and in a fusion update."""
    state = TrainingState(settings_of(sizes[0]), "IVIF", sizes[0].device)
    calls = {f"meta-iteration, K = {size.inner_steps}": our_meta_iteration(state, size) for size in sizes}
    calls["fusion update"] = our_fusion_update(state, sizes[0])
    table = table_of(f"Where the time goes, one profiled call each: {sizes[0].without_steps()}", "seconds", "share")
    for title, call in calls.items():
        say(f"by phase: {title}")
        found = seconds_by_label(call, sizes[0].device)
        whole = sum(found.values())
        for label, spent in {title: whole, **{f"  {label}": spent for label, spent in found.items()}}.items():
            table.add_row(label, f"{spent:.3f}", shown(ratio(spent, whole), ".1%"))
        table.add_section()
    return [table]


def _start(event: Any) -> float:
    return float(event.time_range.start)
