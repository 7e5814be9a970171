"""A short tri-phase epoch: our phases against the textbook's, on the same weights and batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import textbook
import torch
from rich.console import RenderableType
from step_gradient import switched
from step_measuring import Say, Size, medians_in_turn, outcome, ratio, shown, table_of

from refusion.config.layers import check
from refusion.config.presets import read_preset
from refusion.config.settings import Settings
from refusion.meta import phases
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss

META_ITERATIONS, FUSION_UPDATES = 2, 6
RATE = 1e-4
TARGET = 3.0
OURS, EAGER, TEXTBOOK = "our phases", "our phases, not compiled", "textbook"
PARTS = ("meta-iterations", "fusion updates")
LOSS = FusionLoss()


class Loop(NamedTuple):
    """A training loop: its state, its two kinds of update, and whether they run as compiled code (None: as usual)."""

    state: Any
    meta_iteration: Callable[..., object]
    fusion_update: Callable[..., object]
    compiled: bool | None = False


def settings_of(size: Size) -> Settings:
    """The published settings, but for the widths."""
    widths = {"width": size.width, "reconstruction_width": 2 * size.width}
    return check([read_preset("published"), {"network": widths}])


def pairs_and_swap(size: Size) -> tuple[int, bool]:
    """Number of pairs that fill ``size.batch`` with their swapped copies; an odd batch goes without those."""
    return (size.batch, False) if size.batch % 2 else (size.batch // 2, True)


def batches(size: Size, seed: int, *lead: int) -> torch.Tensor:
    """Sources (*lead, pairs, 2, H, W) in [0, 1], before they are swapped."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*lead, pairs_and_swap(size)[0], 2, size.crop, size.crop, generator=draw).to(size.device)


def our_meta_iteration(state: TrainingState, size: Size) -> Callable[[], object]:
    """One meta-iteration of ours as a call."""
    return partial(_meta_iteration, _ours(state), size, batches(size, 0, size.inner_steps), batches(size, 1))


def our_fusion_update(state: TrainingState, size: Size) -> Callable[[], object]:
    """One fusion update of ours as a call."""
    return partial(_fusion_update, _ours(state), size, batches(size, 2))


def section(size: Size, repeats: int, say: Say) -> list[RenderableType]:
    """Time epochs of all methods in turn: their table, and how ours stands against the target."""
    settings = settings_of(size)
    ours, eager = (TrainingState(settings, "IVIF", size.device) for _ in range(2))
    start = _parameters(ours)
    methods = {
        OURS: _ours(ours)._replace(compiled=None),
        EAGER: _ours(eager),
        TEXTBOOK: _textbook(ours, settings, restricted=False),
        f"{TEXTBOOK}, restricted": _textbook(ours, settings, restricted=True),
    }
    calls = {_key(name, part): call for name, loop in methods.items() for part, call in _epoch(loop, size).items()}
    seconds, first = medians_in_turn(calls, repeats, size.device, say)
    whole = {name: sum(seconds[_key(name, part)] for part in PARTS) for name in methods}
    steps = {name: first[_key(name, PARTS[1])] - start for name in methods}
    pairs, swap = pairs_and_swap(size)
    table = table_of(
        f"One epoch, {META_ITERATIONS} meta-iterations and {FUSION_UPDATES} fusion updates: K = {size.inner_steps}, "
        f"batch {pairs}{' and its swapped copies' if swap else ''}, {size.crop}×{size.crop}, width {size.width}",
        *(f"{part}, s" for part in PARTS),
        "epoch, s",
        "ratio",
        "difference",
    )
    for name, spent in whole.items():
        table.add_row(
            name,
            *(f"{seconds[_key(name, part)]:.3f}" for part in PARTS),
            f"{spent:.3f}",
            shown(ratio(spent, whole[OURS]), ".2f"),
            f"{(steps[name] - steps[OURS]).norm() / steps[OURS].norm():.0e}",
        )
    faster = ratio(whole[TEXTBOOK], whole[OURS])
    return [table, f"one epoch: {shown(faster, '.2f')} times as fast as the {TEXTBOOK}; {outcome(faster, TARGET)}"]


def _key(name: str, part: str) -> str:
    return f"{name}, {part}"


def _ours(state: TrainingState) -> Loop:
    return Loop(state, phases.meta_iteration, phases.fusion_update)


def _textbook(state: TrainingState, settings: Settings, restricted: bool) -> Loop:
    meta_iteration = partial(textbook.meta_iteration, restricted=restricted)
    return Loop(textbook.textbook_state(state, settings), meta_iteration, textbook.fusion_update)


def _epoch(loop: Loop, size: Size) -> dict[str, Callable[[], torch.Tensor]]:
    """The two parts of an epoch, to be called in this order; each returns all parameters then, as one vector."""
    meta_train, meta_test = batches(size, 0, META_ITERATIONS, size.inner_steps), batches(size, 1, META_ITERATIONS)
    sources = batches(size, 2, FUSION_UPDATES)

    def meta_iterations() -> torch.Tensor:
        for train, test in zip(meta_train, meta_test, strict=True):
            _meta_iteration(loop, size, train, test)
        return _parameters(loop.state)

    def fusion_updates() -> torch.Tensor:
        for batch in sources:
            _fusion_update(loop, size, batch)
        return _parameters(loop.state)

    calls = (switched(loop.compiled, size.device, call) for call in (meta_iterations, fusion_updates))
    return dict(zip(PARTS, calls, strict=True))


def _meta_iteration(loop: Loop, size: Size, train: torch.Tensor, test: torch.Tensor) -> object:
    rates = {"inner_rates": [RATE] * size.inner_steps, "outer_rate": RATE}
    return loop.meta_iteration(loop.state, train, test, **rates, loss=LOSS, swap=pairs_and_swap(size)[1])


def _fusion_update(loop: Loop, size: Size, sources: torch.Tensor) -> object:
    return loop.fusion_update(loop.state, sources, rate=RATE, loss=LOSS, swap=pairs_and_swap(size)[1])


def _parameters(state: Any) -> torch.Tensor:
    """All parameters of F, P and R as one vector, float64."""
    modules = (state.fusion, state.loss_proposal, state.reconstruction)
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()]).double()
