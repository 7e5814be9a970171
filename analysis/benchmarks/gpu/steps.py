"""The training step: how fast each way of running it is, its kernels, and the share of the bandwidth that it uses."""

from __future__ import annotations

import gc
import math
import statistics
import warnings
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

import textbook
import torch
from gpu.rows import Row
from gpu.timeline import profiled
from measuring import timed
from step_epoch import LOSS, RATE, batches, pairs_and_swap, settings_of
from step_measuring import Size
from step_traffic import bytes_moved, copy_bandwidth
from torch import Tensor

from refusion.meta.adam import Number
from refusion.meta.functional import identity
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.objectives import reconstruction_loss
from refusion.ops.backend import Backend, GpuKernels, Precision, configure, runs_triton
from refusion.training.step_graphs import StepGraphs

Call = Callable[[], object]
TEXTBOOK = "textbook"
ON_IMAGE, THROUGH, UPDATE = PARTS = (
    "meta-iteration on the image",
    "meta-iteration through the parameters",
    "fusion update",
)
# Seconds after which a way is not called again.
_ENOUGH = 2.0


class Way(NamedTuple):
    """A way to run our step."""

    graph: bool = False
    compile: bool = False
    precision: Precision = "float32"
    kernels: GpuKernels = True


WAYS = {
    "eager": Way(),
    "graph": Way(graph=True),
    "graph, fused kernels": Way(graph=True, kernels="fused"),
    "graph, without our kernels": Way(graph=True, kernels=False),
    "graph, tf32": Way(graph=True, precision="tf32"),
    "graph, bfloat16": Way(graph=True, precision="bfloat16"),
    "compiled": Way(compile=True),
}


def sizes(device: str) -> list[Size]:
    """Sizes by K, batch and crop, those with a target first."""
    if device == "cpu":
        return [Size(1, 2, 16, 8)]
    shapes = [(1, 4, 96), (3, 4, 96), (1, 8, 256), (1, 16, 128), (1, 64, 96)]
    return [Size(*shape, 16, device) for shape in shapes]


def in_order(device: str) -> list[tuple[Size, str]]:
    """Sizes and ways, those with a target first, so that the least is lost where time is up.

    First what has a target, then all ways at the first size, then the textbook, which at the largest takes a minute.
    """
    ways = [TEXTBOOK, *WAYS]
    if device == "cpu":
        return [(size, way) for size in sizes(device) for way in ways]
    (first, thrice, large, *more), fast = sizes(device), ("graph", "eager")
    found = [(size, way) for size in (first, thrice, large) for way in fast]
    found += [(first, way) for way in ways if way not in (*fast, "compiled")]
    found += [(thrice, TEXTBOOK), *((size, way) for size in more for way in fast), (first, "compiled")]
    found += [(size, TEXTBOOK) for size in (large, *more)]
    # Compiling takes minutes, and the first size shows what it is worth.
    others = [way for way in ways if way not in (*fast, TEXTBOOK, "compiled")]
    return [*found, *((size, way) for size in (thrice, large, *more) for way in others)]


def calls_of(size: Size, names: Collection[str] = (TEXTBOOK, *WAYS)) -> dict[str, dict[str, Call]]:
    """By way, of these names, the parts of a step on the same weights and images; without what is missing here."""
    settings = settings_of(size)
    if size.device == "cpu":
        settings = settings.model_copy(update={"network": settings.network.model_copy(update={"blocks": 1})})
    found: dict[str, dict[str, Call]] = {}
    if TEXTBOOK in names:
        state = textbook.textbook_state(TrainingState(settings, "IVIF", size.device), settings)
        iteration, update = _textbook_calls(state, size)
        # On the image there is no textbook: its meta-iteration is what both of ours are compared with.
        found[TEXTBOOK] = {THROUGH: iteration, UPDATE: update}
    for name, way in WAYS.items():
        if name not in names or _why_missing(size.device, way):
            continue
        ours = TrainingState(settings, "IVIF", size.device)
        found[name] = {part: partial(_configured, size.device, way, call) for part, call in _ours(ours, size, way)}
    return found


def _ours(state: TrainingState, size: Size, way: Way) -> Iterator[tuple[str, Call]]:
    graphs = StepGraphs(state, torch.device(size.device), note=_refuse)
    graphs.captures &= way.graph
    swap = pairs_and_swap(size)[1]
    for part in PARTS:
        one = Step(LOSS, reconstruction_loss, swap, identity, size.inner_steps, part == ON_IMAGE)
        if part == UPDATE:
            call = partial(_update, one, state)
            yield part, partial(_run, graphs, part, call, images=batches(size, 2, 1), rate=RATE)
            continue
        # On the image all K steps are of the same pictures, of which a training draws two batches.
        images = batches(size, 0, 2 if part == ON_IMAGE else size.inner_steps + 1)
        call = partial(_iterate, one, state)
        yield part, partial(_run, graphs, part, call, images=images, inner_rate=RATE, outer_rate=RATE)


def _run(graphs: StepGraphs, part: str, call: Callable[..., dict[str, Tensor]], **inputs: Tensor | float) -> object:
    return graphs.run((part, graphs.state.outer.completes), call, **inputs)


def _iterate(
    one: Step, state: TrainingState, images: Tensor, inner_rate: Number, outer_rate: Number
) -> dict[str, Tensor]:
    return one.meta(state, images, None, inner_rate, outer_rate)


def _update(one: Step, state: TrainingState, images: Tensor, rate: Number) -> dict[str, Tensor]:
    return one.fusion(state, images, None, rate)


def _refuse(note: str) -> None:
    raise RuntimeError(note)


def _configure(device: str, way: Way) -> Backend:
    return configure(device, way.compile, way.precision, gpu_kernels=way.kernels, even_if_slower=True)


def _why_missing(device: str, way: Way) -> str:
    with _configure(device, way) as backend:
        if backend.notes:
            return "; ".join(backend.notes)
        if device == "cpu" or way.kernels != "fused":
            return ""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if runs_triton(torch.zeros(1, device=device)):
                return ""
        return "; ".join(str(one.message) for one in said) or "Triton does not run here"


def missing_ways(device: str) -> Iterator[Row]:
    """A row for each way that this device does not have, with the reason."""
    for name, way in WAYS.items():
        if reason := _why_missing(device, way):
            yield Row("step", name, note=reason)


def speed_rows(device: str) -> Iterator[Row]:
    """Milliseconds and peak memory of each part, way and size."""
    yield from missing_ways(device)
    for size, name in in_order(device):
        yield from _speed_rows(size, name)
        if device == "cuda":
            # Else the graphs of all ways at the largest size are more than a card holds.
            gc.collect()
            torch.cuda.empty_cache()


def _speed_rows(size: Size, name: str) -> Iterator[Row]:
    for part, call in calls_of(size, [name]).get(name, {}).items():
        what = f"{label(part, size)}, {name}"
        try:
            seconds, peak = measured(call, 5 if size.device == "cuda" else 1, size.device)
        except torch.OutOfMemoryError:
            yield Row("step", what, note="out of memory")
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            yield Row("step", what, note=reason if "out of memory" in reason else f"broke: {reason}")
        else:
            yield Row("step", what, 1e3 * seconds, "ms", peak_mb=peak / 1e6)


def kernel_rows(device: str) -> Iterator[Row]:
    """Kernels per part of a step, and the time without one between them."""
    size = sizes(device)[0]
    # The profiler takes seconds for each.
    names = ["eager"] if device == "cpu" else ["graph", "eager", "graph, fused kernels", TEXTBOOK]
    for name in names:
        for part, call in calls_of(size, [name]).get(name, {}).items():
            found = profiled(call, device)
            note = f"busy {found.busy:.0%} of the time, median gap {found.gap:.1f} µs"
            yield Row("kernels", f"{label(part, size)}, {name}", found.kernels, "kernels", note=note)


def bandwidth_rows(device: str) -> Iterator[Row]:
    """The share of a large copy's bandwidth that a meta-iteration reaches, if nothing stayed in a cache."""
    size = sizes(device)[0]
    bandwidth = copy_bandwidth(device)
    yield Row("bandwidth", "a large copy", bandwidth / 1e9, "GB/s")
    # Inside a graph nobody sees what is moved.
    calls = calls_of(size, ["eager", "graph"])
    for part, call in calls["eager"].items():
        # A graph does the same work, without the waits between.
        seconds, _ = measured(calls["graph"][part], 3, device)
        moved = bytes_moved(call)
        note = f"{moved / 1e9:.3f} GB in {1e3 * seconds:.2f} ms"
        yield Row("bandwidth", f"{label(part, size)}, eager", 100 * moved / seconds / bandwidth, "%", note=note)


def measured(call: Call, repeats: int, device: str) -> tuple[float, float]:
    """Median seconds of a call after a first one, and the bytes that the last one adds on a GPU (NaN on the CPU)."""
    timed(call, device)
    at_rest = 0
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        at_rest = torch.cuda.memory_allocated()
    spent: list[float] = []
    while len(spent) < repeats and sum(spent) < _ENOUGH:
        spent.append(timed(call, device)[1])
    return statistics.median(spent), torch.cuda.max_memory_allocated() - at_rest if device == "cuda" else math.nan


def label(part: str, size: Size) -> str:
    """The part and the size, as rows name them before the way."""
    steps = "" if part == UPDATE else f" K = {size.inner_steps}"
    return f"{part}{steps}, batch {size.batch}, {size.crop}×{size.crop}"


def _configured(device: str, way: Way, call: Call) -> object:
    with _configure(device, way):
        return call()


def _textbook_calls(state: textbook.TextbookState, size: Size) -> tuple[Call, Call]:
    shared: dict[str, Any] = {"loss": LOSS, "swap": pairs_and_swap(size)[1]}
    train, test, sources = batches(size, 0, size.inner_steps), batches(size, 1), batches(size, 2)
    rates: dict[str, Any] = {"inner_rates": [RATE] * size.inner_steps, "outer_rate": RATE}
    return (
        partial(textbook.meta_iteration, state, train, test, **rates, **shared),
        partial(textbook.fusion_update, state, sources, rate=RATE, **shared),
    )
