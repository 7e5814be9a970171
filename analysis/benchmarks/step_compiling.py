"""What compiled loops gain, and what compiling them costs: the meta-gradient with and without."""

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

EAGER, COMPILED = "as it is", "with compiled loops"


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
    return [table]


def with_loops(call: Callable[[], list[torch.Tensor]]) -> Callable[[], list[torch.Tensor]]:
    """The same call with compiled loops, and without them again after it."""

    def compiled() -> list[torch.Tensor]:
        compile_loops(True)
        try:
            return call()
        finally:
            compile_loops(False)

    return compiled


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
