"""One picture of a validation: a row per shown pair with its sources, the fused picture, the weights, and insets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from refusion.fuse.insets import Image, most_different_window
from refusion.objectives import FusionWeights
from refusion.training.pictures.weight_maps import COLOURS, LEGEND, reach_of, weight_planes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Plane = npt.NDArray[np.float32]
MOST_ROWS = 6
# Pixels of a picture's longer side, and of an inset's.
SIDE = 260
_DPI, _INCHES = 100, 1.72
_FONT = 8


@dataclass(frozen=True)
class SheetRow:
    """One pair, small enough to travel between workers.

    Attributes:
        pictures: a, b and fused by label, uint8, (H, W) or (H, W, 3), at most 260 pixels a side.
        window: left, top, width and height of the insets' window as shares of the picture, 0 to 1.
        insets: that window of the whole pictures, by label, at most 260 pixels a side.
        weights: those of source a by what they weigh, (h, w) in [0, 1].
    """

    pictures: Mapping[str, Image]
    window: tuple[float, float, float, float]
    insets: Mapping[str, Image]
    weights: Mapping[str, Plane]


def sheet_row(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], fused: Image, weights: FusionWeights) -> SheetRow:
    """Returns the row of a pair; the insets show where sources and fused picture differ most.

    Args:
        a, b: the sources' grey levels, (H, W) or (H, W, 3), 0–255.
        fused: of their size.
        weights: proposed for the pair, (1, 2, h, w) each, of any size.
    """
    sources = (np.rint(source).clip(0, 255).astype(np.uint8) for source in (a, b))
    whole = dict(zip(("a", "b", "fused"), (*sources, fused), strict=True))
    window = most_different_window(list(whole.values()))
    height, width = fused.shape[:2]
    return SheetRow(
        {label: _small(picture) for label, picture in whole.items()},
        (window.x / width, window.y / height, window.side / width, window.side / height),
        {label: _small(window.of(picture)) for label, picture in whole.items()},
        {name: _small(plane) for name, plane in weight_planes(weights).items()},
    )


def contact_sheet(rows: Mapping[str, SheetRow]) -> Image:
    """Returns the sheet, RGB (height, width, 3), about 1400 pixels wide and 200 a row, with labels and a legend.

    Args:
        rows: by the pairs' names; six of them are shown, evenly spread.
    """
    # Only one process draws, and all others that train, or wait for a training, would import it in vain.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(rows)
    if len(names) > MOST_ROWS:
        names = [names[round(place)] for place in np.linspace(0, len(names) - 1, MOST_ROWS)]
    shown = [rows[name] for name in names]
    columns = max(_columns(row) for row in shown)
    heights = [
        _INCHES * min(max(row.pictures["fused"].shape[0] / row.pictures["fused"].shape[1], 1), 1.6) for row in shown
    ]
    engine = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(_INCHES * columns, sum(heights) + 0.3 * len(shown) + 0.35), dpi=_DPI, layout=engine)
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    reaches = {kind: max(reach_of(row.weights[kind]) for row in shown) for kind in shown[0].weights}
    for axes, name, row in zip(grid, names, shown, strict=True):
        _draw(axes, name, row, reaches)
    figure.suptitle(
        f"Weight maps: {LEGEND}. The last three are the framed window, where a, b and fused differ most.",
        fontsize=_FONT + 1,
        x=0.005,
        ha="left",
    )
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def _tallness(row: SheetRow) -> float:
    height, width = row.pictures["fused"].shape[:2]
    return float(height / width)


def _columns(row: SheetRow) -> int:
    return len(row.pictures) + len(row.weights) + len(row.insets)


def _draw(axes: Sequence[Axes], name: str, row: SheetRow, reaches: Mapping[str, float]) -> None:
    from matplotlib.patches import Rectangle

    places = iter(axes)
    for label, picture in row.pictures.items():
        tile = next(places)
        _show(tile, picture, f"{_short(name)} · a" if label == "a" else label)
        height, width = picture.shape[:2]
        x, y, wide, tall = row.window
        corner, size = (x * width - 0.5, y * height - 0.5), (wide * width, tall * height)
        tile.add_patch(Rectangle(corner, *size, fill=False, edgecolor="#facc15", linewidth=1.2))
    for kind, plane in row.weights.items():
        reach, tile = reaches[kind], next(places)
        tile.imshow(plane, cmap=COLOURS, vmin=0.5 - reach, vmax=0.5 + reach, interpolation="nearest")
        tile.set_title(f"{kind} {0.5 - reach:.2f}–{0.5 + reach:.2f}", fontsize=_FONT)
        tile.set_axis_off()
    for label, picture in row.insets.items():
        _show(next(places), picture, f"{label}, zoomed")
    for unused in places:
        unused.set_axis_off()


def _show(axes: Axes, picture: Image, title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title, fontsize=_FONT)
    axes.set_axis_off()


def _short(name: str) -> str:
    return (name if len(name) <= 18 else f"{name[:17]}…").replace("$", r"\$")


def _small(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    scale = SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture.copy()
    width, height = (max(1, round(side * scale)) for side in picture.shape[1::-1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
