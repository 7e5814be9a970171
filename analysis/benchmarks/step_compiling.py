"""What compiled loops and bfloat16 gain, and what compiling costs: the meta-gradient with and without."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from measuring import timed
from rich.console import RenderableType
from step_gradient import OURS, difference, prepared
from step_measuring import Say, Size, medians_in_turn, ratio, shown, table_of
from torch import _dynamo
from torch._inductor.utils import fresh_cache

from refusion.networks.loops import compile_loops
from refusion.networks.precision import use_bfloat16

Call = Callable[[], list[torch.Tensor]]

EAGER, COMPILED = "as it is", "with compiled loops"
BFLOAT16, BOTH = "bfloat16", "bfloat16, compiled"


def section(sizes: list[Size], repeats: int, say: Say) -> list[RenderableType]:
    """Time both in turn for each size: their table; or one line where nothing can be compiled."""
    reason = compile_loops(True, torch.device(sizes[0].device))
    compile_loops(False)
    if reason is not None:
        return [f"compiled loops: not measured, since nothing can be compiled here: {reason}"]
    table = table_of(
        f"Compiled loops: {sizes[0].without_steps()}",
        EAGER,
        COMPILED,
        "ratio",
        "difference",
        "to compile, s",
        "from disk, s",
        "pays after",
    )
    for size in sizes:
        call = prepared(OURS, size)
        ways = {EAGER: call, COMPILED: with_loops(call)}
        say(f"compiling: {size}")
        first, again = _seconds_to_compile(ways[COMPILED], size.device)
        seconds, found = medians_in_turn(ways, repeats, size.device, say)
        spent = first - seconds[COMPILED]
        table.add_row(
            f"K = {size.inner_steps}",
            *(f"{seconds[way]:.3f}" for way in ways),
            shown(ratio(seconds[EAGER], seconds[COMPILED]), ".2f"),
            f"{difference(found, EAGER, of=COMPILED):.0e}",
            f"{spent:.1f}",
            f"{again - seconds[COMPILED]:.1f}",
            steps_until_it_pays(spent, seconds[EAGER] - seconds[COMPILED]),
        )
    return [table, *_precision(sizes, repeats, say)]


def _precision(sizes: list[Size], repeats: int, say: Say) -> list[RenderableType]:
    reason = use_bfloat16(True, torch.device(sizes[0].device))
    use_bfloat16(False)
    if reason is not None:
        return [f"bfloat16: not measured, since {reason}"]
    table = table_of(f"Precision: {sizes[0].without_steps()}", EAGER, BFLOAT16, BOTH, "ratios", "difference")
    for size in sizes:
        call = prepared(OURS, size)
        ways = {EAGER: call, BFLOAT16: with_bfloat16(call), BOTH: with_bfloat16(with_loops(call))}
        seconds, found = medians_in_turn(ways, repeats, size.device, say)
        table.add_row(
            f"K = {size.inner_steps}",
            *(f"{seconds[way]:.3f}" for way in ways),
            ", ".join(shown(ratio(seconds[EAGER], seconds[way]), ".2f") for way in (BFLOAT16, BOTH)),
            f"{difference(found, BFLOAT16, of=EAGER):.0e}",
        )
    return [table]


def with_bfloat16(call: Call) -> Call:
    """The same call with wide maps in bfloat16, and without again after it."""
    return _switched(call, use_bfloat16)


def with_loops(call: Call) -> Call:
    """The same call with compiled loops, and without them again after it."""
    return _switched(call, compile_loops)


def _switched(call: Call, switch: Callable[[bool], object]) -> Call:
    def switched() -> list[torch.Tensor]:
        switch(True)
        try:
            return call()
        finally:
            switch(False)

    return switched


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
