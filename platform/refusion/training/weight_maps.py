"""Pictures of the weights that the loss proposal module proposes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from refusion.networks.full_size import propose_full_size
from refusion.objectives import FusionWeights

# Half the range of colours is at least this, so that rounding errors do not look like a proposal.
_LEAST = 0.01
_INCHES, _DPI = 4.0, 100
# Maps are for looking at; beyond this side they only cost room.
_MAP_SIDE = 512


def proposed_maps(loss_proposal: nn.Module, sources: Tensor) -> npt.NDArray[np.uint8]:
    """Maps, as ``weight_maps``, of the weights that P proposes for one pair, at most 512 pixels a side.

    Args:
        loss_proposal: P.
        sources: (1, 2, H, W) in [0, 1], where P is.
    """
    return weight_maps(propose_full_size(loss_proposal, _at_most(sources, _MAP_SIDE)))


def _at_most(sources: Tensor, side: int) -> Tensor:
    height, width = sources.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return sources
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in sources[0].cpu().numpy()]
    return torch.from_numpy(np.stack(smaller))[None].to(sources.device)


def weight_maps(weights: FusionWeights) -> npt.NDArray[np.uint8]:
    """Maps of the weights proposed for source a, side by side with their colour bars, RGB (height, width, 3).

    White is 0.5, both sources alike; red is more weight on a, blue on b. Early in training weights hardly leave 0.5, so
    the colours span what there is and the bars tell how much that is.

    Args:
        weights: of one pair, (1, 2, H, W) each.
    """
    maps = {"intensity": weights.intensity, "gradient": weights.gradient}
    planes = {name: pair[0, 0].cpu().numpy() for name, pair in maps.items() if pair is not None}
    height, width = next(iter(planes.values())).shape
    tall = min(max(_INCHES * height / width, 2.0), 8.0)
    figure = Figure(figsize=(_INCHES * 1.3 * len(planes), tall + 0.4), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (name, plane) in enumerate(planes.items(), start=1):
        reach = max(float(np.quantile(np.abs(plane - 0.5), 0.995)), _LEAST)
        axes = figure.add_subplot(1, len(planes), place)
        shown = axes.imshow(plane, cmap="RdBu_r", vmin=0.5 - reach, vmax=0.5 + reach, interpolation="nearest")
        axes.set_title(f"{name} weight of a", fontsize=9)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
