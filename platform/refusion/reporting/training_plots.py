"""Plots of the trials' training: learning curves, endings, lineage and schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from refusion.reporting.figures import (
    BEST,
    DEFAULT,
    ENDING_COLOURS,
    INK,
    OTHERS,
    WIDTH,
    NothingToShowError,
    axis_limits,
    panels,
)
from refusion.reporting.study import DEFAULT_TRIAL, Study, ending_of
from refusion.search.space.parameter import Parameter

_ROW = 0.2
# Tukey's outer fences, in interquartile ranges: without them one bad trial would flatten all other curves.
_FENCE = 3.0


def learning_curves(study: Study) -> Figure:
    """Plots each metric of the objective over the epochs: all trials faint, the best and the default settings bold.

    Raises:
        NothingToShowError: nothing was validated.
    """
    if not study.histories:
        raise NothingToShowError("no trial has been validated yet")
    keys = study.keys
    figure, grid = panels(len(keys), columns=1 if len(keys) == 1 else 2)
    for axes, key in zip(grid, keys, strict=True):
        curves = {number: _curve(history, key) for number, history in study.histories.items()}
        for number, (epochs, values) in curves.items():
            if number not in (study.best, DEFAULT_TRIAL):
                axes.plot(epochs, values, color=OTHERS, alpha=0.55, linewidth=1, marker=".", markersize=4)
        for bold_one, colour in ((DEFAULT_TRIAL, DEFAULT), (study.best, BEST)):
            if bold_one in curves:
                axes.plot(*curves[bold_one], color=colour, linewidth=2.2, marker="o", markersize=4, zorder=3)
        bold = [value for number in (DEFAULT_TRIAL, study.best) if number in curves for value in curves[number][1]]
        _clip_outliers(axes, [value for _, values in curves.values() for value in values], bold)
        axes.set_title(key, fontsize=10, color=INK)
        _label_epochs(axes)
    _add_legend(grid[0], study)
    return figure


def _curve(history: Mapping[int, Mapping[str, float]], key: str) -> tuple[list[int], list[float]]:
    points = [(epoch, row[key]) for epoch, row in sorted(history.items()) if key in row]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _clip_outliers(axes: Axes, values: Sequence[float], bold: Sequence[float]) -> None:
    finite = np.array([value for value in values if math.isfinite(value)])
    kept = [value for value in bold if math.isfinite(value)]
    if not len(finite):
        return
    lower, upper = np.percentile(finite, [25, 75])
    fence = _FENCE * (upper - lower)
    low, high = max(finite.min(), lower - fence), min(finite.max(), upper + fence)
    low, high = min([low, *kept]), max([high, *kept])
    if low < high and (low > finite.min() or high < finite.max()):
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _add_legend(axes: Axes, study: Study) -> None:
    lines = [Line2D([], [], color=BEST, linewidth=2.2, label=f"trial {study.best}, the best")]
    if study.best == DEFAULT_TRIAL:
        lines = [Line2D([], [], color=BEST, linewidth=2.2, label="trial 0, the best")]
    elif DEFAULT_TRIAL in study.histories:
        lines.append(Line2D([], [], color=DEFAULT, linewidth=2.2, label="trial 0"))
    lines.append(Line2D([], [], color=OTHERS, label="other trials"))
    axes.legend(handles=lines, fontsize=8, frameon=False, loc="best")


def _label_epochs(axes: Axes) -> None:
    axes.set_xlabel("finished epochs", fontsize=8, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def endings_chart(study: Study) -> Figure:
    """Plots a bar per trial up to its last epoch, coloured by its ending; rungs, where trials may be stopped, as lines.

    Raises:
        NothingToShowError: there are no trials.
    """
    if not study.trials:
        raise NothingToShowError("no trial has been started yet")
    figure, (axes,) = panels(1, height=1.0 + _ROW * len(study.trials))
    numbers = sorted(study.trials)
    rungs = [int(epoch) for epoch in study.sweep.spec.get("rungs", [])]
    for row, number in enumerate(numbers):
        trial = study.trials[number]
        last = max(trial.history, default=0)
        # A trial that failed in its first epoch stays visible.
        axes.barh(row, max(last, 0.06), height=0.72, color=ENDING_COLOURS.get(ending_of(trial), OTHERS))
    for epoch in rungs:
        axes.axvline(epoch, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(numbers)), [_row_name(study, number) for number in numbers], fontsize=7)
    axes.set_ylim(len(numbers) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    _label_epochs(axes)
    present = {ending_of(trial) for trial in study.trials.values()}
    handles: list[Patch | Line2D] = [
        Patch(color=colour, label=name) for name, colour in ENDING_COLOURS.items() if name in present
    ]
    if rungs:
        handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label="rungs"))
    figure.legend(handles=handles, fontsize=8, frameon=False, ncols=len(handles), loc="outside upper center")
    return figure


def _row_name(study: Study, number: int) -> str:
    name = "default" if number == DEFAULT_TRIAL else str(number)
    return f"★ {name}" if number == study.best else name


def lineage_chart(study: Study) -> Figure:
    """Plots the descent of each trial's weights: a row per trial, a vertical line where it took over another's state.

    Only surviving branches are shown; the best trial's own descent is bold.

    Raises:
        NothingToShowError: no trial took over another's state.
    """
    copied = {number for number, trial in study.trials.items() if len(trial.lineage) > 1}
    if not copied:
        raise NothingToShowError("no trial took over another's weights")
    numbers = sorted(study.trials)
    row = {number: place for place, number in enumerate(numbers)}
    figure, (axes,) = panels(1, height=1.0 + 1.6 * _ROW * len(numbers))
    # The best last, above the others.
    for number in sorted(numbers, key=lambda number: number == study.best):
        best = number == study.best
        style: dict[str, Any] = {"color": BEST if best else OTHERS, "linewidth": 2.6 if best else 1.3}
        for begin, end, who, donor in _descent(study, number):
            axes.plot([begin, end], [row[who], row[who]], solid_capstyle="round", **style)
            if donor in row:
                axes.plot([begin, begin], [row[donor], row[who]], marker="o", markersize=3.5, **style)
    axes.set_yticks(range(len(numbers)), [_row_name(study, number) for number in numbers], fontsize=8)
    axes.set_ylim(len(numbers) - 0.5, -0.5)
    axes.set_ylabel("trial", fontsize=8, color=INK)
    _label_epochs(axes)
    return figure


def _descent(study: Study, number: int) -> list[tuple[int, int, int, int | None]]:
    """Returns (from epoch, to epoch, trial that trained, trial from which it had its state), the latest first."""
    trial = study.trials[number]
    end, who = max(trial.history, default=0), number
    parts: list[tuple[int, int, int, int | None]] = []
    # A lineage is the donor's own plus one entry, so that one entry back is the donor.
    for entry in reversed(trial.lineage):
        donor = None if entry["from"] is None else int(entry["from"])
        parts.append((int(entry["epoch"]), end, who, donor))
        end, who = int(entry["epoch"]), who if donor is None else donor
    return parts


def schedule_chart(study: Study) -> Figure:
    """Plots the values over the epochs that each trial's state went through, the best's bold.

    Raises:
        NothingToShowError: no values changed while trials were trained.
    """
    if not study.evolves:
        raise NothingToShowError("no values changed while the trials were trained")
    shown = [parameter for parameter in study.space.parameters if parameter.kind != "choice"]
    if not shown:
        raise NothingToShowError("the parameters have no ranges to be drawn over time")
    figure, grid = panels(len(shown), columns=1 if len(shown) == 1 else 2, width=WIDTH)
    for axes, parameter in zip(grid, shown, strict=True):
        for number in sorted(study.trials, key=lambda number: number == study.best):
            epochs, values = _steps(study, number, parameter)
            best = number == study.best
            axes.step(
                epochs,
                values,
                where="post",
                color=BEST if best else OTHERS,
                linewidth=2.4 if best else 1,
                alpha=1 if best else 0.6,
            )
        axes.set_yscale("log" if parameter.log else "linear")
        axes.set_ylim(axis_limits(*parameter.range, parameter.log))
        if parameter.kind == "int":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(parameter.name, fontsize=10, color=INK)
        _label_epochs(axes)
    return figure


def _steps(study: Study, number: int, parameter: Parameter) -> tuple[list[int], list[float]]:
    trial = study.trials[number]
    entries = [entry for entry in trial.lineage if parameter.name in entry["values"]]
    if not entries:
        return [], []
    epochs = [int(entry["epoch"]) for entry in entries]
    values = [float(entry["values"][parameter.name]) for entry in entries]
    return [*epochs, max(epochs[-1], *trial.history, 0)], [*values, values[-1]]
