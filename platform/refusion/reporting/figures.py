"""What all pictures of a report share: colours, panels in a grid, and the way to a PNG file."""

from __future__ import annotations

import io
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BEST, DEFAULT, OTHERS, INK = "#c2410c", "#1d4ed8", "#94a3b8", "#1f2937"
# By how a trial ended; colours that stay apart for colour-blind eyes.
ENDED = {
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
    """A picture cannot be made; the message is one sentence that says why, without a full stop."""


def panels(count: int, columns: int = 2, height: float = 2.9, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, row by row; pyplot, which keeps a global state, has no part in it."""
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in grid[count:]:
        unused.set_axis_off()
    for axes in grid[:count]:
        tidy(axes)
    return figure, grid[:count]


def tidy(axes: Axes) -> None:
    """No frame on the right and above, a faint grid, small figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8, colors=INK)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    target = io.BytesIO()
    # Without the software's version in it, so that equal sweeps give equal files.
    figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white", bbox_inches="tight")
    return target.getvalue()


def label(value: Any, limit: int = 24) -> str:
    """A text for an axis: without mathematics in it, and not too long."""
    text = str(value).replace("$", r"\$")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def margins(low: float, high: float, log: bool, share: float = 0.05) -> tuple[float, float]:
    """The limits of an axis that shows the range from low to high, with some room at both ends."""
    if log:
        room = (high / low) ** share
        return low / room, high * room
    return low - share * (high - low), high + share * (high - low)
