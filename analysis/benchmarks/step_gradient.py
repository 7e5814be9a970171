"""The meta-gradient: seconds, peak memory and result of ours and of autograd's, against their targets."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from measuring import peak_in_a_fresh_process
from rich.console import RenderableType
from step_measuring import Say, Size, medians_in_turn, outcome, ratio, shown, table_of

from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
from refusion.networks.reference import (
    ReferenceFusionModule,
    ReferenceLossProposalModule,
    ReferenceReconstructionModule,
)
from refusion.ops.backend import Precision, configure

FAST = (FusionModule, LossProposalModule, ReconstructionModule)
REFERENCE = (ReferenceFusionModule, ReferenceLossProposalModule, ReferenceReconstructionModule)
OURS, EAGER, TEXTBOOK = "meta_gradient", "meta_gradient, not compiled", "by autograd, straightforward networks"
WARM_UP_CROP = 16
INNER_RATE = 1e-2

SPEED_TARGETS = {"cpu": 4.0, "cuda": 5.0}
CUDA_TARGET_SIZE = (8, 256)  # batch and crop
MEMORY_TARGET = 1 / 3

Call = Callable[[], list[torch.Tensor]]
Result = TypeVar("Result")


class Method(NamedTuple):
    """A way to compute the meta-gradient, and the forms of F, P and R that it is given.

    Attributes:
        compiled: whether compiled code runs; None is what a script has that configures nothing.
    """

    compute: Callable[..., list[torch.Tensor]]
    forms: tuple[type[torch.nn.Module], ...] = FAST
    compiled: bool | None = False


METHODS = {
    OURS: Method(meta_gradient, compiled=None),
    EAGER: Method(meta_gradient),
    TEXTBOOK: Method(meta_gradient_by_autograd, REFERENCE),
    "by autograd, our networks": Method(meta_gradient_by_autograd),
    "by autograd, our networks, restricted": Method(partial(meta_gradient_by_autograd, restricted=True)),
}


def prepared(name: str, size: Size, compile_anyway: bool = False, precision: Precision = "float32") -> Call:
    """The method on its modules and images, which are the same for all methods; warmed up on a corner of them.

    Args:
        compile_anyway: as compiled code, although the method is not.
        precision: of wide maps.
    """
    torch.manual_seed(0)
    compute, forms, compiled = METHODS[name]
    compiled = True if compile_anyway else compiled
    widths = (size.width, size.width, 2 * size.width)
    modules = [form(width).to(size.device) for form, width in zip(forms, widths, strict=True)]
    meta_train = torch.rand(size.inner_steps, size.batch, 2, size.crop, size.crop).to(size.device)
    meta_test = torch.rand(size.batch, 2, size.crop, size.crop).to(size.device)
    rates = [INNER_RATE] * size.inner_steps
    corner = (..., slice(WARM_UP_CROP), slice(WARM_UP_CROP))
    warm_up = partial(compute, *modules, meta_train[corner], meta_test[corner], rates)
    switched(compiled, size.device, warm_up, precision)()
    return switched(compiled, size.device, partial(compute, *modules, meta_train, meta_test, rates), precision)


def switched(
    compiled: bool | None, device: str, call: Callable[[], Result], precision: Precision = "float32"
) -> Callable[[], Result]:
    """The same call with compiled code or without, as `Method.compiled` says, its wide maps in that precision."""
    if compiled is None:
        return call

    def call_so() -> Result:
        with configure(device, compiled, precision):
            return call()

    return call_so


def peak(name: str, size: Size, threads: int) -> float:
    """Bytes that one call adds to a process at rest, in a fresh process; NaN where it ran out of memory."""
    return peak_in_a_fresh_process(_prepared_to_leave, name, size, threads=threads, device=size.device)


def _prepared_to_leave(name: str, size: Size) -> Callable[[], object]:
    call = prepared(name, size)

    def call_or_leave() -> object:
        try:
            return call()
        except torch.OutOfMemoryError:
            sys.exit(1)

    return call_or_leave


def section(
    size: Size, peaks: Mapping[str, float], repeats: int, say: Say
) -> tuple[list[RenderableType], dict[str, float]]:
    """Time the methods that have a peak.

    Returns:
        Their table and how ours stands against the targets; median seconds by method.
    """
    calls = {name: prepared(name, size) for name in METHODS if not math.isnan(peaks[name])}
    seconds, gradients = medians_in_turn(calls, repeats, size.device, say)
    table = table_of(f"The meta-gradient: {size}", "seconds", "ratio", "peak MB", "ratio", "difference")
    for name in METHODS:
        spent = seconds.get(name, math.nan)
        table.add_row(
            name,
            shown(spent, ".3f"),
            shown(ratio(spent, seconds.get(OURS, math.nan)), ".2f"),
            shown(peaks[name] / 1e6, ".0f") if name in seconds else "out of memory",
            shown(ratio(peaks[name], peaks[OURS]), ".2f"),
            shown(difference(gradients, name), ".0e"),
        )
    return [table, *_against_targets(size, seconds, peaks)], seconds


def difference(gradients: Mapping[str, list[torch.Tensor]], name: str, of: str = OURS) -> float:
    """Distance of a method's gradient from another's, relative to that; NaN where one is missing."""
    if name not in gradients or of not in gradients:
        return math.nan
    one, other = (torch.cat([part.flatten() for part in gradients[method]]).double() for method in (name, of))
    return float((one - other).norm() / other.norm())


def _against_targets(size: Size, seconds: Mapping[str, float], peaks: Mapping[str, float]) -> list[str]:
    faster = ratio(seconds.get(TEXTBOOK, math.nan), seconds.get(OURS, math.nan))
    speed = outcome(faster, SPEED_TARGETS[size.device])
    if size.device == "cuda" and (size.batch, size.crop) != CUDA_TARGET_SIZE:
        batch, crop = CUDA_TARGET_SIZE
        speed += f" (it is set for batch {batch}, {crop}×{crop})"
    lines = [f"K = {size.inner_steps}: {shown(faster, '.2f')} times as fast as {TEXTBOOK}; {speed}"]
    if size.device == "cpu":
        share = ratio(peaks[OURS], peaks[TEXTBOOK])
        memory = outcome(share, MEMORY_TARGET, at_most=True)
        lines.append(f"K = {size.inner_steps}: {shown(share, '.3f')} of its peak memory; {memory}")
    return lines
