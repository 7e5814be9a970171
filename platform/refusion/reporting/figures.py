"""Colours, grids of panels and PNG output, shared by all plots of a report."""

from __future__ import annotations

import io
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BEST, DEFAULT, OTHERS, INK = "#c2410c", "#1d4ed8", "#94a3b8", "#1f2937"
# Colours by ending, which colour-blind readers can tell apart.
ENDING_COLOURS = {
    "finished": "#2b6cb0",
    "stopped": "#e9a03b",
    "diverged": "#b91c1c",
    "failed": "#701a75",
    "interrupted": "#6b7280",
    "running": "#a3a3a3",
}
WIDTH = 10.0
DPI = 110


class NothingToShowError(Exception):
    """A plot cannot be made; the message is one sentence with the reason, without a full stop."""


def panels(count: int, columns: int = 2, height: float = 2.9, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """Returns a figure with so many panels, row by row, made without pyplot, which keeps a global state."""
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in grid[count:]:
        unused.set_axis_off()
    for axes in grid[:count]:
        style_axes(axes)
    return figure, grid[:count]


def style_axes(axes: Axes) -> None:
    """Removes the frame on the right and above, adds a faint grid and small figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8, colors=INK)


def to_png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file."""
    target = io.BytesIO()
    # Without the software's version, equal sweeps give equal files.
    figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white", bbox_inches="tight")
    return target.getvalue()


def axis_label(value: Any, limit: int = 24) -> str:
    """Returns a text for an axis: without mathematics in it, and not too long."""
    text = str(value).replace("$", r"\$")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def axis_limits(low: float, high: float, log: bool, space: float = 0.05) -> tuple[float, float]:
    """Returns the limits of an axis that shows the range from low to high, with some space at both ends."""
    if log:
        factor = (high / low) ** space
        return low / factor, high * factor
    return low - space * (high - low), high + space * (high - low)
