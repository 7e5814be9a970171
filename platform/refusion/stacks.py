"""Fusion of stacks: three or more exposures or focal planes of one scene, two at a time, in a stated order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from refusion.errors import UserError
from refusion.fuse import fuse_luminance, nearly_flat
from refusion.images.colour import luminance, stretch_exact
from refusion.images.stacks.colour import ChromaOfStack
from refusion.images.stacks.order import ORDERS, Tree, fused_along
from refusion.images.writing import to_depth
from refusion.tasks import find_task

Plane = npt.NDArray[np.float32]

# Of those in ``images.stacks.order`` the best on builtin stacks, to what another training changes (docs/stacks.md).
_ORDER_OF = {"MEIF": "extremes inward", "MFIF": "chain"}
_SAID = {
    "MEIF": "from the extremes inward, by mean luminance: the darkest with the brightest, the next darkest with the "
    "next brightest and so on; then the first two results, theirs with the third, and so on",
    "MFIF": "in the order in which the sources are named, which should be that of their focus: the first with the "
    "second, the result with the third, and so on",
}


def check_count(task: str, count: int) -> None:
    """Checks that a task fuses so many sources.

    Raises:
        UserError: they are fewer than two, or more than two in a task whose sources are of two kinds.

    >>> check_count("IVIF", 3)
    Traceback (most recent call last):
    refusion.errors.UserError: IVIF fuses two sources, infrared and visible, but 3 are named; MEIF and MFIF fuse stacks
    """
    known = find_task(task)
    if count < 2:
        raise UserError(f"{known.name} fuses two sources or more, but {count} is named")
    if count > 2 and known.name not in _ORDER_OF:
        raise UserError(
            f"{known.name} fuses two sources, {known.a} and {known.b}, but {count} are named; MEIF and MFIF fuse stacks"
        )


def said_order(task: str) -> str:
    """Returns the order in which a task's stacks are fused, as a clause."""
    return _SAID[task]


def sorted_stack(task: str, sources: Sequence[Plane]) -> list[Plane]:
    """Returns luminances in the order that a tree's leaves are numbered in: MEIF's from dark to bright."""
    return sorted(sources, key=lambda source: float(source.mean())) if task == "MEIF" else list(sources)


def tree_of(task: str, count: int) -> Tree:
    """Returns the order in which a sorted stack of a task is fused; of two sources a first, then b.

    >>> tree_of("MFIF", 4), tree_of("IVIF", 2)
    ((((0, 1), 2), 3), (0, 1))
    """
    return ORDERS[_ORDER_OF[task]](range(count)) if task in _ORDER_OF else (0, 1)


def fuse_stack(module: nn.Module, sources: Iterable[npt.NDArray[Any]], task: str) -> npt.NDArray[np.uint8]:
    """Fuses two or more registered images of one scene, two at a time; docs/stacks.md says in which order.

    Luminance is fused along the tree without rounding, and stretched once at the end, as ``fuse_pair`` does; chroma is
    that of all coloured sources by the rule of ``tasks.Task``.

    Args:
        module: as for ``fuse_pair``.
        sources: (H, W) grey or (H, W, 3) RGB, 0–255, uint8 or float; of one size. Exposures (MEIF) in any order, focal
            planes (MFIF) in that of their focus.
        task: MEIF or MFIF; another one for two sources.

    Returns:
        uint8, (H, W) where no source has colour, else (H, W, 3).

    Raises:
        UserError: the task does not fuse so many, the sizes differ, or the fused image is not finite.

    Example:
        >>> from refusion.networks import FusionModule
        >>> stack = [np.full((24, 32), value, np.uint8) for value in (20, 90, 200)]
        >>> fuse_stack(FusionModule(width=8, blocks=1), stack, "MEIF").shape
        (24, 32)
    """
    fused: npt.NDArray[np.uint8] = to_depth(fuse_stack_exact(module, sources, task), 8)  # type: ignore[assignment]
    return fused


def fuse_stack_exact(
    module: nn.Module, sources: Iterable[npt.NDArray[Any]], task: str, *, stretched: bool = True, grey: bool = False
) -> npt.NDArray[np.float32]:
    """Fuses as ``fuse_stack`` does, to grey levels that are not rounded yet; sources are taken one at a time.

    Args:
        module, sources, task: as for ``fuse_stack``.
        stretched, grey: as for ``fuse.fuse_exact``.

    Returns:
        float32 around 0–255, (H, W) or (H, W, 3).

    Raises:
        UserError: as ``fuse_stack``.
    """
    colour, planes = ChromaOfStack(), []
    for source in sources:
        values = source.astype(np.float32)
        planes.append(luminance(values))
        if planes[-1].shape != planes[0].shape:
            (h, w), (height, width) = planes[0].shape, planes[-1].shape
            raise UserError(f"the sources must be of one size, but are {w}×{h} and {width}×{height} pixels")
        if not grey:
            colour.add(values)
    check_count(task, len(planes))
    name = find_task(task).name
    tree = tree_of(name, len(planes))
    fused = fused_along(tree, sorted_stack(name, planes), lambda a, b: fuse_luminance(module, np.stack([a, b])))
    if nearly_flat(np.stack(planes)):
        least, greatest = min(float(p.min()) for p in planes), max(float(p.max()) for p in planes)
        levels = np.clip(fused, least, greatest) * np.float32(255)
    else:
        levels = stretch_exact(fused) if stretched else fused * np.float32(255)
    return colour.restored(levels)
