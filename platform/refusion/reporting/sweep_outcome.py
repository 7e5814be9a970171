"""First section of a sweep's page: what to do, what it is worth, and one picture of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from refusion.fuse.insets import Image, most_different_window
from refusion.reporting.figures import BEST, DEFAULT, INK, NothingToShowError, axis_label, to_png
from refusion.reporting.page import Picture, Rows, Section
from refusion.reporting.study import DEFAULT_TRIAL, Study
from refusion.reporting.tables import changed_settings
from refusion.search.results.comparison import Comparison, Difference
from refusion.statistics import Interval
from refusion.tracking.comparison.pictures import RunPictures

_SHARE = 0.22
# Inches; with the table beside it the figure fills a window of 1400 pixels.
_WIDTH, _HEIGHT = 6.4, 1.9


def compared(study: Study) -> Comparison | None:
    """Returns the recorded comparison of the best trial with the default settings, or None."""
    recorded = study.sweep.comparison
    if recorded is None:
        return None
    metrics = {
        key: Difference(found["pairs"], _number(found["ours"]), _number(found["reference"]), _interval(found))
        for key, found in recorded["metrics"].items()
    }
    plain = {**recorded, "metrics": metrics, "gain": _interval(recorded, "gain")}
    return Comparison(**plain)


def _interval(found: Mapping[str, Any], name: str = "difference") -> Interval:
    return Interval(*(_number(found[name][part]) for part in ("mean", "low", "high")))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def result_sentence(study: Study) -> str:
    """Returns the sweep's result in a sentence or two."""
    comparison = compared(study)
    if study.best is None:
        return "No trial has been validated yet, so that there is no best one."
    if study.best == DEFAULT_TRIAL:
        return "Trial 0, the base settings, is the best: no trial has surpassed it."
    if comparison is None:
        return f"Trial {study.best} is the best so far; it has not been compared with trial 0."
    sentence = comparison.sentence(f"trial {study.best}")
    return f"{sentence[0].upper()}{sentence[1:]}."


def what_to_do(study: Study) -> Section:
    """Returns the section: the command, the best trial's settings that differ from trial 0's, and both pictures."""
    title = "What to do"
    if study.best is None:
        return Section(title, ["Wait for the first validation, or resume the sweep."])
    if study.best == DEFAULT_TRIAL:
        return Section(title, ["Keep the base settings, or search more trials."])
    paragraphs = []
    if study.sweep.best_yaml is not None:
        paragraphs += [
            "Train with best.yaml, which lies beside this page:",
            "python jobs/train_all_tasks.py --config best.yaml --data DATA",
        ]
    comparison = compared(study)
    if comparison is not None and not comparison.better:
        paragraphs.append("It may be chance: search longer, or on more pairs, before you rely on it.")
    paragraphs += _worth(study, comparison)
    changed = changed_settings(study)
    if study.evolves:
        paragraphs.append("Values changed while the trial was trained: these are the last, best.yaml has them all.")
    table = Rows(*changed) if changed[1] else None
    if table is None:
        paragraphs.append("No searched setting of it differs from the base settings.")
    try:
        picture = Picture(to_png(both_pictures(study)), _CAPTION)
    except NothingToShowError as reason:
        return Section(title, [*paragraphs, f"No picture of both: {reason}."], table)
    return Section(title, paragraphs, table, picture, beside=True)


_CAPTION = "The same pair by trial 0 and by the best trial, and the window where their details differ most."


def _worth(study: Study, comparison: Comparison | None) -> list[str]:
    """Returns the mean differences in the objective's metrics, with their intervals, as a sentence."""
    if comparison is None:
        return []
    parts = []
    for key in study.keys:
        found = comparison.metrics.get(key)
        if found is None or not found.pairs:
            continue
        low, high = found.difference.low, found.difference.high
        interval = f" ({low:+.4f} to {high:+.4f})" if math.isfinite(low) else ""
        parts.append(f"{key} {found.difference.mean:+.4f}{interval}")
    return [f"Mean differences on held-out pairs, with 95 % intervals: {'; '.join(parts)}."] if parts else []


def both_pictures(study: Study) -> Figure:
    """Plots one pair as trial 0 and as the best trial fuse it, with the window where they differ most enlarged.

    Raises:
        NothingToShowError: no picture of the same pair is recorded for both.
    """
    name, default, best = _shared_picture(study)
    window = most_different_window([default, best], _SHARE)
    figure = Figure(figsize=(_WIDTH, 2 * _HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2, gridspec_kw={"width_ratios": [default.shape[1] / default.shape[0], 1.0]})
    rows = (("trial 0, the base settings", default, DEFAULT), (f"trial {study.best}, the best", best, BEST))
    for (whole, inset), (label, picture, colour) in zip(grid, rows, strict=True):
        _show(whole, picture, f"{label} · {axis_label(name)}")
        corner = window.x - 0.5, window.y - 0.5
        whole.add_patch(Rectangle(corner, window.side, window.side, fill=False, edgecolor=colour, linewidth=1.6))
        _show(inset, window.of(picture), "zoomed")
        for spine in inset.spines.values():
            spine.set(edgecolor=colour, linewidth=1.6)
    return figure


def _shared_picture(study: Study) -> tuple[str, Image, Image]:
    runs = [study.trials[number].run_id for number in (DEFAULT_TRIAL, study.best or 0) if number in study.trials]
    if len(runs) < 2 or not study.sweep.uri:
        raise NothingToShowError("the runs of both are not on record")
    readers = [RunPictures(study.sweep.uri, run) for run in runs]
    for key in readers[1].fused():
        first, second = (reader.newest(key) for reader in readers)
        if first is not None and second is not None and first.shape[:2] == second.shape[:2]:
            return key.replace("fused~", "").replace("~", " · "), first, second
    raise NothingToShowError("no picture of the same pair is recorded for both (validation.pictures)")


def _show(axes: Axes, picture: Image, title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title, fontsize=8, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
