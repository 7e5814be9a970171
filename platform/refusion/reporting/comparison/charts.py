"""Charts of a comparison: differences with intervals, learning curves, quality against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from refusion.evaluation.ranking import QUALITY
from refusion.evaluation.table import arrow
from refusion.metrics import METRICS
from refusion.reporting.comparison.groups import Group
from refusion.reporting.comparison.measures import HIGHER, LEVEL
from refusion.reporting.figures import INK, OTHERS, NothingToShowError, axis_label, panels
from refusion.tracking.comparison.scores import AVERAGE

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each run, the same in all charts; from the ninth on they repeat."""
    return {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}


def differences_chart(group: Group, scores: pd.DataFrame) -> Figure:
    """Plots each method − the baseline by metric with its interval; filled where the corrected test is sure.

    Args:
        group: of which they are.
        scores: ``scores_of`` it.

    Raises:
        NothingToShowError: there is nothing beside the baseline.
    """
    if not group.others:
        raise NothingToShowError("there is nothing to compare the baseline with")
    colours = colours_of(list(group.runs))
    figure, grid = panels(len(METRICS), columns=4, height=1.0 + 0.28 * len(group.others))
    for place, (axes, metric) in enumerate(zip(grid, METRICS, strict=True)):
        of_metric = scores[scores["metric"] == metric].set_index("run")
        axes.axvline(0, color=INK, linewidth=0.9)
        for row, name in enumerate(group.others):
            found = of_metric.loc[name]
            colour = colours.get(name, OTHERS)
            axes.plot([found["difference_low"], found["difference_high"]], [row, row], color=colour, linewidth=2)
            fill = colour if found["p_holm"] < LEVEL else "white"
            axes.plot(found["difference"], row, "o", color=colour, markerfacecolor=fill, markersize=6)
        axes.set_ylim(len(group.others) - 0.5, -0.5)
        names = [axis_label(name, 18) for name in group.others] if place % 4 == 0 else [""] * len(group.others)
        axes.set_yticks(range(len(group.others)), names, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        axes.set_title(f"{metric} {arrow(HIGHER[metric])}", fontsize=10, color=INK)
    return figure


def learning_curves(group: Group) -> Figure:
    """Plots the four metrics of quality over the epochs, one line per run, the average's dashed; a ring is the best.

    Raises:
        NothingToShowError: no run has more than one validated epoch.
    """
    curves = {name: run.history for name, run in group.runs.items() if run.trained}
    if not any(len(history) > 1 for history in curves.values()):
        raise NothingToShowError("no run has two validated epochs")
    colours = colours_of(list(group.runs))
    figure, grid = panels(len(QUALITY), columns=4, height=2.7)
    for axes, metric in zip(grid, QUALITY, strict=True):
        for name, history in curves.items():
            best = group.runs[name].epoch
            _curve(axes, history, metric, colours[name], best)
        _average(axes, group, metric)
        axes.set_title(metric, fontsize=10, color=INK)
        axes.set_xlabel("epoch (0: untrained)", fontsize=8, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines = [Line2D([], [], color=colours[name], linewidth=2, label=axis_label(name)) for name in curves]
    lines.append(Line2D([], [], color=INK, linewidth=1, linestyle="--", label="average of the sources"))
    figure.legend(handles=lines, fontsize=8, frameon=False, ncols=min(len(lines), 5), loc="outside lower center")
    return figure


def _curve(axes: Axes, history: pd.DataFrame, metric: str, colour: str, best: int | None) -> None:
    if metric not in history:
        return
    points = history[["epoch", metric]].dropna()
    axes.plot(points["epoch"], points[metric], color=colour, linewidth=1.8, marker=".", markersize=5)
    at = points[points["epoch"] == best]
    axes.plot(at["epoch"], at[metric], "o", color=colour, markerfacecolor="none", markersize=10)


def _average(axes: Axes, group: Group, metric: str) -> None:
    for method in group.methods:
        if method.name == AVERAGE and metric in method.frame:
            axes.axhline(float(method.frame[metric].mean()), color=INK, linewidth=1, linestyle="--")


def cost_chart(group: Group, standings: pd.DataFrame) -> Figure:
    """Plots the mean rank over the four metrics against the pairs that each run has seen, and CPU-seconds.

    The line joins the runs of which none is both better and cheaper.

    Args:
        group: of the runs.
        standings: ``standings_of`` it.

    Raises:
        NothingToShowError: fewer than two runs have a record of their cost.
    """
    known = {column: _with_cost(standings, column) for column in ("pairs_seen", "cpu_seconds")}
    if max(map(len, known.values())) < 2:
        raise NothingToShowError("fewer than two runs have a record of their cost")
    colours = colours_of(list(group.runs))
    figure, grid = panels(2, columns=2, height=2.9)
    labels = {"pairs_seen": "pairs seen", "cpu_seconds": "CPU-seconds of all workers"}
    for axes, (column, table) in zip(grid, known.items(), strict=True):
        axes.plot(*_frontier(table[column].tolist(), table["rank_quality"].tolist()), color=OTHERS, zorder=1)
        for name, row in table.iterrows():
            axes.plot(row[column], row["rank_quality"], "o", color=colours[str(name)], markersize=8)
            axes.annotate(
                axis_label(name), (row[column], row["rank_quality"]), xytext=(7, 4), textcoords="offset points",
                fontsize=8, color=INK,
            )  # fmt: skip
        axes.invert_yaxis()
        axes.margins(0.18)
        axes.set_xlabel(labels[column], fontsize=8, color=INK)
        axes.set_ylabel("mean rank, 1 is best", fontsize=8, color=INK)
    return figure


def _with_cost(standings: pd.DataFrame, column: str) -> pd.DataFrame:
    return standings[[column, "rank_quality"]].dropna()


def _frontier(costs: Sequence[float], ranks: Sequence[float]) -> tuple[list[float], list[float]]:
    """Returns the points, by rising cost, that no other undercuts in cost and rank.

    >>> _frontier([3, 1, 2], [1, 2, 2.5])
    ([1, 3], [2, 1])
    """
    kept: list[tuple[float, float]] = []
    least = math.inf
    for place in np.lexsort((ranks, costs)):
        if ranks[place] < least:
            least = ranks[place]
            kept.append((costs[place], least))
    return [cost for cost, _ in kept], [rank for _, rank in kept]
