"""Classical fusion of more than two sources."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from refusion.baselines.catalogue import find_baseline, fuse_luminance
from refusion.images.stacks.order import Tree, fused_along

Plane = npt.NDArray[np.float32]


def fuse_stack_luminance(name: str, sources: Sequence[Plane], tree: Tree) -> Plane:
    """Fuses the luminances of a stack by a baseline.

    The average, the maximum and Mertens' exposure fusion take all sources at once; the others take two at a time.

    Args:
        name: of the baseline.
        sources: (H, W) float32 in [0, 1], as ``images.colour.luminance`` returns them, of one size.
        tree: order of those that take two at a time.

    Returns:
        (H, W) float32, clipped to [0, 1], not stretched.

    Raises:
        UserError: there is no such baseline, or the sizes differ.

    Example:
        >>> planes = [np.full((2, 2), value, np.float32) for value in (0, 0.5, 1)]
        >>> fuse_stack_luminance("average", planes, ((0, 1), 2)).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    known = find_baseline(name).name
    if known == "average":
        return np.asarray(np.mean(np.stack(sources), axis=0), np.float32)
    if known == "max":
        return np.asarray(np.max(np.stack(sources), axis=0), np.float32)
    if known == "mertens":
        merge = cv2.createMergeMertens(contrast_weight=1, saturation_weight=1, exposure_weight=1)
        # OpenCV divides by 255 whatever the type.
        fused = merge.process([source * np.float32(255) for source in sources])
        return np.clip(np.asarray(fused, np.float32).reshape(sources[0].shape), 0, 1)
    return fused_along(tree, sources, lambda a, b: fuse_luminance(known, a, b))
