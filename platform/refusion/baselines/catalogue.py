"""The table of baselines, and fusion by one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from refusion.baselines.focus import fuse_focus
from refusion.baselines.guided import fuse_guided
from refusion.baselines.mertens import fuse_mertens
from refusion.baselines.pixelwise import fuse_average, fuse_max
from refusion.baselines.pyramid import fuse_laplacian
from refusion.baselines.wavelet import fuse_wavelet
from refusion.errors import UserError
from refusion.images.colour import luminance, restore_colour
from refusion.tasks import TASKS, find_task

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Baseline:
    """A classical way to fuse.

    Attributes:
        name: on the command line.
        title: one line for ``--help``.
        tasks: the tasks it is meant for; it can be applied to all.
        citation: the publication.
        fuse: takes the luminances of a and b, (H, W) float32 in [0, 1], and returns the fused one, which may lie a
            little outside: ``fuse_luminance`` clips it.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    citation: str
    fuse: Callable[[Plane, Plane], Plane]


_ALL = tuple(TASKS)

BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("average", "mean of both", _ALL, "–", fuse_average),
        Baseline("max", "the brighter of both", _ALL, "–", fuse_max),
        Baseline(
            "laplacian", "Laplacian pyramid, larger coefficient", _ALL, "Burt & Kolczynski, ICCV 1993", fuse_laplacian
        ),
        Baseline(
            "wavelet",
            "wavelet transform, larger coefficient",
            _ALL,
            "Li, Manjunath & Mitra, Graphical Models and Image Processing 57(3), 1995",
            fuse_wavelet,
        ),
        Baseline(
            "guided",
            "two scales, weights refined by a guided filter",
            _ALL,
            "Li, Kang & Hu, IEEE Trans. Image Processing 22(7), 2013",
            fuse_guided,
        ),
        Baseline(
            "mertens", "exposure fusion", ("MEIF",), "Mertens, Kautz & Van Reeth, Pacific Graphics 2007", fuse_mertens
        ),
        Baseline("focus", "the sharper of both", ("MFIF",), "Nayar & Nakagawa, IEEE TPAMI 16(8), 1994", fuse_focus),
    )
}


def find_baseline(name: str) -> Baseline:
    """Returns the baseline of that name (any case).

    Raises:
        UserError: there is no such baseline.

    Example:
        >>> find_baseline("Average").title
        'mean of both'
    """
    baseline = BASELINES.get(name.lower())
    if baseline is None:
        raise UserError(f"there is no baseline {name!r}: choose from {', '.join(BASELINES)}")
    return baseline


def fuse_luminance(name: str, a: Plane, b: Plane) -> Plane:
    """Fuses two luminances by a baseline.

    Args:
        name: of the baseline.
        a, b: (H, W) float32 in [0, 1], as ``images.colour.luminance`` returns them.

    Returns:
        (H, W) float32, clipped to [0, 1], not stretched.

    Raises:
        UserError: there is no such baseline, or the sizes differ.

    Example:
        >>> import numpy as np
        >>> a, b = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
        >>> fuse_luminance("average", a, b).tolist()
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """
    baseline = find_baseline(name)
    if a.shape != b.shape:
        (height_a, width_a), (height_b, width_b) = a.shape[:2], b.shape[:2]
        raise UserError(
            f"the two sources must be of one size, but are {width_a}×{height_a} and {width_b}×{height_b} pixels"
        )
    return np.clip(baseline.fuse(a, b), 0, 1)


def fuse_baseline(name: str, a: npt.NDArray[Any], b: npt.NDArray[Any], task: str) -> npt.NDArray[np.uint8]:
    """Fuses two registered images by a baseline: luminance clipped, never stretched, colour by the rule of all tasks.

    Args:
        name: of the baseline.
        a, b: (H, W) grey or (H, W, 3) RGB, 0–255, uint8 or float; of one size.
        task: the fusion task; every baseline does all, ``Baseline.tasks`` names those it is meant for.

    Returns:
        uint8, (H, W) where neither has colour, else (H, W, 3): the rule of ``tasks.Task``.

    Raises:
        UserError: there is no such baseline or task, or the sizes differ.

    Example:
        >>> import numpy as np
        >>> a, b = np.zeros((2, 3), np.uint8), np.full((2, 3), 200, np.uint8)
        >>> fuse_baseline("max", a, b, "IVIF").tolist()
        [[200, 200, 200], [200, 200, 200]]
    """
    find_task(task)
    first, second = (np.asarray(image, np.float32) for image in (a, b))
    fused = fuse_luminance(name, luminance(first), luminance(second))
    return restore_colour(fused * np.float32(255), first, second)
