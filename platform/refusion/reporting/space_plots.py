"""Plots of the search space: parameter importance, slices, contours, parallel coordinates.

The score of a trial is its standing among all trials (``refusion.search.objective.objective.standings``), in [0, 1].
Importance and contours are Optuna's, on an in-memory study of the recorded trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from refusion.reporting.figures import BEST, DEFAULT, INK, WIDTH, NothingToShowError, axis_label, axis_limits, panels
from refusion.reporting.study import DEFAULT_TRIAL, Study
from refusion.reporting.tables import value_text
from refusion.search.space.parameter import Parameter

SCORE = "score"
RATE, STEPS = "schedule.rate.value", "schedule.inner_steps"
# fANOVA fits a forest, which fewer trials do not support.
MIN_TRIALS = 8
_SEED = 0
_CHART_HEIGHT = 4.2
_COLOURS = "viridis_r"


def optuna_study(study: Study, numbers: Sequence[int]) -> optuna.Study:
    """Returns an Optuna study, to be maximised, of these trials and scores; values outside the space are left out."""
    with _silenced_optuna():
        made = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=_SEED))
        for number in numbers:
            values = study.trials[number].values
            if study.space.contains(values):
                made.add_trial(
                    optuna.trial.create_trial(
                        params=study.space.encoded(values),
                        distributions=study.space.distributions(values),
                        value=study.scores[number],
                    )
                )
    return made


@contextmanager
def _silenced_optuna() -> Iterator[None]:
    """Silences Optuna's messages and warnings, and restores pyplot's style, which its plots change."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings(), plt.style.context("default"):
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def shared_parameters(study: Study) -> tuple[list[str], list[str]]:
    """Returns the names of the parameters that all compared trials have, and of those that only some have."""
    names = [parameter.name for parameter in study.space.parameters]
    trials = [study.trials[number].values for number in study.compared]
    shared = [name for name in names if all(name in values for values in trials)]
    return shared, [name for name in names if name not in shared]


def importances(study: Study) -> dict[str, float]:
    """Returns the share of the score's variance that each parameter explains by itself, the largest first.

    The method is fANOVA (Hutter, Hoos & Leyton-Brown, ICML 2014), Optuna's, with a fixed seed, on the parameters that
    all compared trials have.

    Raises:
        NothingToShowError: there are too few trials, all scores are equal, or no parameter is shared.
    """
    if len(study.compared) < MIN_TRIALS:
        raise NothingToShowError(
            f"importance needs at least {MIN_TRIALS} trials with a score besides the default, and there are "
            f"{len(study.compared)}"
        )
    if len({study.scores[number] for number in study.compared}) == 1:
        raise NothingToShowError("importance needs scores that differ")
    shared, _ = shared_parameters(study)
    if not shared:
        raise NothingToShowError("no parameter is shared by all trials, so that none can be weighed against another")
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
    with _silenced_optuna():
        try:
            found = optuna.importance.get_param_importances(
                optuna_study(study, study.compared), evaluator=evaluator, params=shared
            )
        except RuntimeError as error:  # no tree of the forest found anything to split
            raise NothingToShowError("the scores do not depend on the parameters in any way that a forest sees") from (
                error
            )
    return dict(found)


def importance_chart(study: Study) -> Figure:
    """Plots ``importances`` as bars.

    Raises:
        NothingToShowError: as ``importances``.
    """
    found = importances(study)
    figure, (axes,) = panels(1, height=0.9 + 0.32 * len(found))
    bars = axes.barh(range(len(found)), list(found.values()), color=DEFAULT, height=0.6)
    axes.bar_label(bars, [f"{share:.0%}" for share in found.values()], padding=4, fontsize=8, color=INK)
    axes.set_yticks(range(len(found)), [axis_label(name, 40) for name in found], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1e-9, *found.values()) * 1.12)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the explained variance of the score", fontsize=8, color=INK)
    return figure


def slices(study: Study) -> Figure:
    """Plots the score over each parameter, for the trials that have it; colour shows the epochs that a trial finished.

    Raises:
        NothingToShowError: no trial with values has a score.
    """
    shown = [
        parameter
        for parameter in study.space.parameters
        if any(parameter.name in study.trials[number].values for number in study.compared)
    ]
    if not shown:
        raise NothingToShowError("no trial besides the default has a score")
    figure, grid = panels(len(shown), columns=3, height=2.6)
    colours = ScalarMappable(Normalize(0, max(study.last_epoch, 1)), _COLOURS)
    for axes, parameter in zip(grid, shown, strict=True):
        _slice(axes, study, parameter)
    bar = figure.colorbar(colours, ax=grid, fraction=0.02, pad=0.01)
    bar.set_label("finished epochs", fontsize=8)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    bar.ax.tick_params(labelsize=7)
    return figure


def _slice(axes: Axes, study: Study, parameter: Parameter) -> None:
    numbers = [number for number in study.compared if parameter.name in study.trials[number].values]
    values = [study.trials[number].values[parameter.name] for number in numbers]
    places: list[Any] = values
    if parameter.kind == "choice":
        places = [parameter.choices.index(value) for value in values]
        names = [axis_label(value_text(choice), 28) for choice in parameter.choices]
        crowded = sum(map(len, names)) > 40
        axes.set_xticks(range(len(names)), names, rotation=25 if crowded else 0, ha="right" if crowded else "center")
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif parameter.kind == "int":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if parameter.log:
        axes.set_xscale("log")
        # Over less than two decades matplotlib would label every minor tick, overlapping.
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if parameter.kind != "choice":
        axes.set_xlim(axis_limits(*parameter.range, parameter.log))
    reached = [max(study.histories[number]) for number in numbers]
    scores = [study.scores[number] for number in numbers]
    axes.scatter(
        places, scores, c=reached, vmin=0, vmax=max(study.last_epoch, 1), cmap=_COLOURS, s=26, linewidths=0, zorder=3
    )
    if study.best in numbers:
        at = numbers.index(study.best)
        axes.scatter(places[at], scores[at], marker="*", s=170, color=BEST, edgecolors="white", zorder=4)
    if DEFAULT_TRIAL in study.scores:
        axes.axhline(study.scores[DEFAULT_TRIAL], color=DEFAULT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(-0.05, 1.05)
    axes.set_title(axis_label(parameter.name, 34), fontsize=9, color=INK)


def contour(study: Study) -> Figure:
    """Plots the score over the learning rate and the inner steps K, in K's most frequent form (Optuna's plot).

    Raises:
        NothingToShowError: rate and K are not searched together, or too few trials differ in both.
    """
    names = [parameter.name for parameter in study.space.parameters]
    steps = [name for name in names if name == STEPS or name.startswith(f"{STEPS}.")]
    if RATE not in names or not steps:
        raise NothingToShowError(f"the space does not search both {RATE} and {STEPS}")
    shown = max(steps, key=lambda name: len(_points(study, name)))
    points = _points(study, shown)
    if len(points) < 4 or any(len(set(side)) < 2 for side in zip(*points, strict=True)):
        raise NothingToShowError("too few trials differ in both the rate and the inner steps for a contour")
    with _silenced_optuna():
        # Optuna plots through pyplot; a report needs no window.
        plt.switch_backend("agg")
        made = optuna_study(study, study.compared)
        axes = optuna.visualization.matplotlib.plot_contour(made, [RATE, shown], target_name=SCORE)
    # One pair of parameters is one panel.
    assert isinstance(axes, Axes)
    figure = axes.figure
    assert isinstance(figure, Figure)
    plt.close(figure)
    figure.set_size_inches(WIDTH * 0.8, _CHART_HEIGHT)
    axes.set_title("")
    for part in figure.axes:
        part.tick_params(which="both", labelsize=8, colors=INK)
        part.xaxis.label.set_fontsize(9)
        part.yaxis.label.set_fontsize(9)
    # Optuna puts the parameters in the order of the alphabet: K to the right.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    best = study.trials[study.best].values if study.best in study.compared else {}
    if RATE in best and shown in best:
        axes.scatter(best[shown], best[RATE], marker="*", s=230, color=BEST, edgecolors="white", zorder=4)
    return figure


def _points(study: Study, name: str) -> list[tuple[float, float]]:
    found = [study.trials[number].values for number in study.compared]
    return [(values[RATE], values[name]) for values in found if RATE in values and name in values]


def parallel_coordinates(study: Study) -> Figure:
    """Plots each trial as a line through its values to its score, interrupted where it does not have the parameter.

    Raises:
        NothingToShowError: there are fewer than two trials with a score, or fewer than two parameters.
    """
    # Optuna's own plot writes the choices over the neighbouring axes.
    parameters = study.space.parameters
    if len(study.compared) < 2 or len(parameters) < 2:
        raise NothingToShowError("parallel coordinates need two trials with a score and two parameters")
    figure, (axes,) = panels(1, height=_CHART_HEIGHT)
    axes.set_axis_off()
    for number in sorted(study.compared, key=lambda number: (number == study.best, study.scores[number])):
        values, score = study.trials[number].values, study.scores[number]
        heights = [_axis_position(parameter, values.get(parameter.name)) for parameter in parameters]
        style: dict[str, Any] = (
            {"color": BEST, "linewidth": 2.6} if number == study.best else {"color": colormaps[_COLOURS](score)}
        )
        axes.plot([*heights, score], marker="o", markersize=3.5, **style)
    for place, parameter in enumerate(parameters):
        _vertical_axis(axes, place, _two_line_name(parameter.name), _ticks(parameter))
    _vertical_axis(axes, len(parameters), SCORE, [(height, f"{height:.1f}") for height in (0.0, 0.5, 1.0)])
    axes.set_xlim(-0.4, len(parameters) + 0.35)
    axes.set_ylim(-0.06, 1.16)
    return figure


def _axis_position(parameter: Parameter, value: Any) -> float:
    if value is None and not parameter.holds(None):
        return math.nan
    if parameter.kind == "choice":
        return (parameter.choices.index(value) + 0.5) / len(parameter.choices) if parameter.holds(value) else math.nan
    return parameter.to_unit(value)


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    if parameter.kind == "choice":
        return [(_axis_position(parameter, choice), axis_label(value_text(choice), 22)) for choice in parameter.choices]
    return [(height, value_text(parameter.from_unit(height))) for height in (0.0, 0.5, 1.0)]


def _vertical_axis(axes: Axes, place: int, name: str, marks: Sequence[tuple[float, str]]) -> None:
    axes.plot([place, place], [0, 1], color=INK, linewidth=1)
    axes.text(place, 1.07, name, ha="center", va="bottom", fontsize=8, color=INK)
    for height, text in marks:
        paper = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
        axes.text(place + 0.03, height, text, ha="left", va="center", fontsize=7, color=INK, bbox=paper, zorder=5)


def _two_line_name(name: str) -> str:
    """Returns a setting's name with its section on a line of its own."""
    section, _, last = name.partition(".")
    return f"{section}\n{axis_label(last, 20)}" if last else axis_label(name, 20)
