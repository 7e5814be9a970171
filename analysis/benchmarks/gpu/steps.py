"""The training step: how fast each way of running it is, its kernels, and the share of the bandwidth that it uses."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import textbook
import torch
from gpu.rows import Row
from gpu.timeline import profiled
from measuring import timed
from step_epoch import LOSS, RATE, batches, our_fusion_update, our_meta_iteration, pairs_and_swap, settings_of
from step_measuring import Size
from step_traffic import bytes_moved, copy_bandwidth

from refusion.meta.state import TrainingState
from refusion.ops.backend import Precision, configure

Call = Callable[[], object]
TEXTBOOK = "textbook"
PARTS = ("meta-iteration", "fusion update")


class Way(NamedTuple):
    """A way to run our step."""

    compile: bool
    precision: Precision


WAYS = {
    "eager": Way(False, "float32"),
    "bfloat16": Way(False, "bfloat16"),
    "compiled": Way(True, "float32"),
    "compiled, bfloat16": Way(True, "bfloat16"),
}


def sizes(device: str) -> list[Size]:
    """The middle first, so that what is cut off is the least of it: batch 2 to 64, crop 96 to 256, K = 1 and 3."""
    if device == "cpu":
        return [Size(1, 2, 16, 8)]
    shapes = [(8, 256), (8, 96), (64, 96), (2, 96), (2, 256), (32, 256), (64, 256), (16, 128), (32, 96)]
    wide = [Size(1, batch, crop, 16, device) for batch, crop in shapes]
    return [wide[0], wide[0]._replace(inner_steps=3), *wide[1:]]


def calls_of(size: Size) -> dict[str, dict[str, Call]]:
    """By way, the two parts of a step on the same weights and images. What cannot be done here is left out."""
    settings = settings_of(size)
    if size.device == "cpu":
        settings = settings.model_copy(update={"network": settings.network.model_copy(update={"blocks": 1})})
    found: dict[str, dict[str, Call]] = {}
    state = textbook.textbook_state(TrainingState(settings, "IVIF", size.device), settings)
    found[TEXTBOOK] = dict(zip(PARTS, _textbook_calls(state, size), strict=True))
    for name, way in WAYS.items():
        with configure(size.device, way.compile, way.precision) as backend:
            if backend.notes:
                continue
        ours = TrainingState(settings, "IVIF", size.device)
        parts = (our_meta_iteration(ours, size), our_fusion_update(ours, size))
        found[name] = {
            part: partial(_configured, size.device, way, call) for part, call in zip(PARTS, parts, strict=True)
        }
    return found


def missing_ways(device: str) -> Iterator[Row]:
    """A row for each way that this device does not have, with the reason."""
    for name, way in WAYS.items():
        with configure(device, way.compile, way.precision) as backend:
            if backend.notes:
                yield Row("step", name, note="; ".join(backend.notes))


def speed_rows(device: str) -> Iterator[Row]:
    """Milliseconds, times the textbook and peak memory of each part, way and size."""
    yield from missing_ways(device)
    repeats = 5 if device == "cuda" else 1
    for size in sizes(device):
        calls = calls_of(size)
        for part in PARTS:
            reference = math.nan
            for name, parts in calls.items():
                try:
                    seconds, peak = measured(parts[part], repeats, device)
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    yield Row("step", f"{_label(part, size)}, {name}", note="out of memory")
                    continue
                reference = seconds if name == TEXTBOOK else reference
                yield Row("step", f"{_label(part, size)}, {name}", 1e3 * seconds, "ms", reference / seconds, peak / 1e6)


def kernel_rows(device: str) -> Iterator[Row]:
    """Kernels per part of a step, and the time without one between them."""
    size = sizes(device)[0]
    for name, parts in calls_of(size).items():
        if device == "cpu" and name not in (TEXTBOOK, "eager"):
            continue  # the profiler takes seconds for each
        for part, call in parts.items():
            found = profiled(call, device)
            note = f"busy {found.busy:.0%} of the time, median gap {found.gap:.1f} µs"
            yield Row("kernels", f"{_label(part, size)}, {name}", found.kernels, "kernels", note=note)


def bandwidth_rows(device: str) -> Iterator[Row]:
    """The share of a large copy's bandwidth that a meta-iteration reaches, if nothing stayed in a cache."""
    size = sizes(device)[0]
    bandwidth = copy_bandwidth(device)
    yield Row("bandwidth", "a large copy", bandwidth / 1e9, "GB/s")
    for name, parts in calls_of(size).items():
        if name not in (TEXTBOOK, "eager"):
            continue  # inside compiled code nobody sees what is moved, and bfloat16 moves half as much of the same
        for part, call in parts.items():
            moved = bytes_moved(call)
            seconds, _ = measured(call, 3, device)
            note = f"{moved / 1e9:.3f} GB in {1e3 * seconds:.2f} ms"
            yield Row("bandwidth", f"{_label(part, size)}, {name}", 100 * moved / seconds / bandwidth, "%", note=note)


def measured(call: Call, repeats: int, device: str) -> tuple[float, float]:
    """Median seconds of a call after a first one, and the bytes that the last one adds on a GPU (NaN on the CPU)."""
    timed(call, device)
    at_rest = 0
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        at_rest = torch.cuda.memory_allocated()
    seconds = statistics.median(timed(call, device)[1] for _ in range(repeats))
    return seconds, torch.cuda.max_memory_allocated() - at_rest if device == "cuda" else math.nan


def _label(part: str, size: Size) -> str:
    steps = f" K = {size.inner_steps}" if part == PARTS[0] else ""
    return f"{part}{steps}, batch {size.batch}, {size.crop}×{size.crop}"


def _configured(device: str, way: Way, call: Call) -> object:
    with configure(device, way.compile, way.precision):
        return call()


def _textbook_calls(state: textbook.TextbookState, size: Size) -> tuple[Call, Call]:
    shared: dict[str, Any] = {"loss": LOSS, "swap": pairs_and_swap(size)[1]}
    train, test, sources = batches(size, 0, size.inner_steps), batches(size, 1), batches(size, 2)
    rates: dict[str, Any] = {"inner_rates": [RATE] * size.inner_steps, "outer_rate": RATE}
    return (
        partial(textbook.meta_iteration, state, train, test, **rates, **shared),
        partial(textbook.fusion_update, state, sources, rate=RATE, **shared),
    )
