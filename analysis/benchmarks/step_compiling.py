"""Gain of compiled code, cost of compiling, and gain of bfloat16 where nothing is compiled."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from measuring import timed
from rich.console import RenderableType
from step_gradient import EAGER, OURS, difference, prepared
from step_measuring import Say, Size, medians_in_turn, ratio, shown, table_of
from torch import _dynamo
from torch._inductor.utils import fresh_cache

from refusion.ops.backend import configure
from refusion.ops.native.build import shared_library
from refusion.ops.native.library import SOURCES

COMPILED, BFLOAT16 = "compiled", "bfloat16"


def section(
    sizes: list[Size], seconds: Mapping[Size, Mapping[str, float]], repeats: int, say: Say
) -> list[RenderableType]:
    """Gain and cost of compiling for each size, and gain of bfloat16: tables, or lines where there is none.

    Args:
        seconds: median seconds of the meta-gradient by method, as far as they are measured.
    """
    device = sizes[0].device
    with configure(device, compile=True) as backend:
        reason = backend.not_compiled
    if reason is not None:
        missing = f"compiled code: not measured, since nothing can be compiled here: {reason}"
        return [missing, *_precision(sizes, repeats, say)]
    say("compiling")
    measured = _by_native(sizes, seconds) if device == "cpu" else _by_inductor(sizes, repeats, say)
    table = table_of(
        f"Compiled code: {sizes[0].without_steps()}",
        EAGER,
        COMPILED,
        "ratio",
        "to compile, s",
        "from disk, s",
        "pays after",
    )
    for size, (eager, compiled, first, again) in measured.items():
        table.add_row(
            f"K = {size.inner_steps}",
            *(shown(spent, ".3f") for spent in (eager, compiled)),
            shown(ratio(eager, compiled), ".2f"),
            f"{first:.1f}",
            f"{again:.2f}",
            steps_until_it_pays(first, eager - compiled),
        )
    return [table, *_precision(sizes, repeats, say)]


Measured = dict[Size, tuple[float, float, float, float]]
"""Seconds of a step without and with compiled code, seconds to compile it, and to find it on disk."""


def _by_native(sizes: list[Size], seconds: Mapping[Size, Mapping[str, float]]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        first, again = (timed(lambda: shared_library(SOURCES, Path(folder)))[1] for _ in range(2))
    # A method that ran out of memory has no time.
    spent = {size: [seconds[size].get(name, math.nan) for name in (EAGER, OURS)] for size in sizes}
    return {size: (eager, ours, first, again) for size, (eager, ours) in spent.items()}


def _by_inductor(sizes: list[Size], repeats: int, say: Say) -> Measured:
    """The same for Inductor's kernels, which OURS runs only if told so; each step compiles what it needs."""
    found = {}
    for size in sizes:
        ways = {EAGER: prepared(EAGER, size), COMPILED: prepared(EAGER, size, compile_anyway=True)}
        first, again = _seconds_to_compile(ways[COMPILED], size.device)
        spent, _ = medians_in_turn(ways, repeats, size.device, say)
        found[size] = (spent[EAGER], spent[COMPILED], first - spent[COMPILED], again - spent[COMPILED])
    return found


def _precision(sizes: list[Size], repeats: int, say: Say) -> list[RenderableType]:
    with configure(sizes[0].device, compile=False, precision="bfloat16") as backend:
        reason = backend.not_bfloat16
    if reason is not None:
        return [f"bfloat16: not measured, since {reason}"]
    table = table_of(f"Precision: {sizes[0].without_steps()}", EAGER, BFLOAT16, "ratio", "difference")
    for size in sizes:
        ways = {EAGER: prepared(EAGER, size), BFLOAT16: prepared(EAGER, size, precision="bfloat16")}
        seconds, found = medians_in_turn(ways, repeats, size.device, say)
        table.add_row(
            f"K = {size.inner_steps}",
            *(f"{seconds[way]:.3f}" for way in ways),
            shown(ratio(seconds[EAGER], seconds[BFLOAT16]), ".2f"),
            f"{difference(found, BFLOAT16, of=EAGER):.0e}",
        )
    return [table]


def steps_until_it_pays(cost: float, gain: float) -> str:
    """Steps after which seconds once are won back by the seconds that each step gains."""
    return f"{math.ceil(cost / gain)} steps" if gain > 0 else "never"


def _seconds_to_compile(call: Callable[[], object], device: str) -> tuple[float, float]:
    """The first call with nothing compiled, and the first one of a process that finds all of it on disk."""
    with fresh_cache():
        _dynamo.reset()
        _, first = timed(call, device)
        _dynamo.reset()
        _, again = timed(call, device)
    return first, again
