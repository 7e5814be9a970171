"""Pictures of the weights that the loss proposal module proposes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from refusion.networks.full_size import propose_full_size
from refusion.objectives import FusionWeights

COLOURS = "RdBu_r"
LEGEND = "red favours a, blue favours b, white neither"
# Half the range of colours is at least this, so that rounding errors do not look like a proposal.
_LEAST = 0.01
_INCHES, _DPI = 4.0, 100
# Maps are for looking at; beyond this side they only cost room.
_MAP_SIDE = 512


def proposed_weights(loss_proposal: nn.Module, sources: Tensor) -> FusionWeights:
    """Returns the weights that P proposes for one pair, (1, 2, h, w) each, at most 512 pixels a side.

    Args:
        loss_proposal: P.
        sources: (1, 2, H, W) in [0, 1], where P is.
    """
    return propose_full_size(loss_proposal, _at_most(sources, _MAP_SIDE))


def _at_most(sources: Tensor, side: int) -> Tensor:
    height, width = sources.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return sources
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in sources[0].cpu().numpy()]
    return torch.from_numpy(np.stack(smaller))[None].to(sources.device)


def weight_planes(weights: FusionWeights) -> dict[str, npt.NDArray[np.float32]]:
    """Returns the weights of source a, (H, W) in [0, 1], by what they weigh: ``intensity``, ``gradient`` if learned."""
    maps = {"intensity": weights.intensity, "gradient": weights.gradient}
    return {name: pair[0, 0].float().cpu().numpy() for name, pair in maps.items() if pair is not None}


def reach_of(plane: npt.NDArray[np.float32]) -> float:
    """Returns half the range of colours about 0.5 that shows a plane of weights."""
    return max(float(np.quantile(np.abs(plane - 0.5), 0.995)), _LEAST)


def weight_maps(weights: FusionWeights) -> npt.NDArray[np.uint8]:
    """Maps of the weights proposed for source a, side by side with colour bars and a legend, RGB (height, width, 3).

    White is 0.5, both sources alike; red is more weight on a, blue on b. Early in training weights hardly leave 0.5, so
    the colours span what there is and the bars tell how much that is.

    Args:
        weights: of one pair, (1, 2, H, W) each.
    """
    # Only a process that draws should pay for this import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    planes = weight_planes(weights)
    height, width = next(iter(planes.values())).shape
    tall = min(max(_INCHES * height / width, 2.0), 8.0)
    figure = Figure(figsize=(_INCHES * 1.3 * len(planes), tall + 0.6), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (name, plane) in enumerate(planes.items(), start=1):
        reach = reach_of(plane)
        axes = figure.add_subplot(1, len(planes), place)
        shown = axes.imshow(plane, cmap=COLOURS, vmin=0.5 - reach, vmax=0.5 + reach, interpolation="nearest")
        axes.set_title(f"{name} weight of a", fontsize=9)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    figure.supxlabel(LEGEND, fontsize=9)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
