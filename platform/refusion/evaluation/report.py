"""The printed report of an evaluation: score table, convention, intervals, tests and undefined scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from refusion.evaluation.formats import as_latex, as_markdown, as_text
from refusion.evaluation.request import FORMATS, Format
from refusion.evaluation.results import REFERENCE, MethodScores
from refusion.evaluation.table import INCOMPLETE, SIGNIFICANT, Table, is_higher_better, table_of_one, table_of_several
from refusion.metrics import CATALOGUE, CONVENTIONS
from refusion.statistics import MeanInterval, mean_interval, paired_tests
from refusion.tasks import find_task

_LEVEL = 0.05
_NAMES_SHOWN = 5


def report_text(
    methods: Sequence[MethodScores],
    output_format: Format,
    *,
    task: str,
    seed: int = 0,
    width: int | None = None,
    styled: bool = False,
) -> str:
    """Returns the mean scores of the methods side by side, with intervals, ranks, tests and undefined scores.

    Best and second-best are bold and underlined; unstyled text has the rank in parentheses instead. A dagger marks the
    methods that differ from the first by more than chance.

    Args:
        methods: at least one, all of one convention, with the same metrics and different names.
        output_format: "text" for a terminal, "markdown" for GitHub, "latex" for a paper (with booktabs).
        task: the fusion task, named in the caption.
        seed: of the bootstrap.
        width: of ``text``, in characters; None for the terminal's.
        styled: True where ``text`` may hold a terminal's control codes.

    Raises:
        UserError: there is no such task.
        ValueError: there is no such format, or the methods do not go into one table.
    """
    if output_format not in FORMATS:
        raise ValueError(f"there is no format {output_format!r}: choose from {', '.join(FORMATS)}")
    _check(methods)
    higher = is_higher_better(methods[0].frame.columns)
    intervals = {
        method.name: {metric: mean_interval(method.frame[metric].to_numpy(), seed=seed) for metric in higher}
        for method in methods
    }
    table, notes = _several(methods, intervals, higher) if len(methods) > 1 else _one(methods[0], intervals, higher)
    if len(methods) > 1 and (styled or output_format != "text"):
        notes.insert(1, "Best bold, second-best underlined.")
    notes += [*_metric_notes(higher), *_undefined_notes(methods, higher)]
    caption = _caption(methods, task, seed)
    if output_format == "latex":
        return as_latex(table, caption, notes, label=f"tab:{find_task(task).name.lower()}")
    if output_format == "markdown":
        return as_markdown(table, caption, notes)
    return as_text(table, caption, notes, width, styled)


def _check(methods: Sequence[MethodScores]) -> None:
    if not methods:
        raise ValueError("there is no method to report")
    if len({method.convention for method in methods}) > 1:
        raise ValueError("scores of different conventions do not go into one table")
    if len({method.name for method in methods}) < len(methods):
        raise ValueError("two methods have the same name")
    if any(list(method.frame.columns) != list(methods[0].frame.columns) for method in methods):
        raise ValueError("the methods have different metrics")


def _caption(methods: Sequence[MethodScores], task: str, seed: int) -> str:
    named = find_task(task)
    counts = sorted({len(method.frame) for method in methods})
    pictures = "1 picture" if counts == [1] else f"{'–'.join(str(count) for count in counts)} pictures"
    convention = methods[0].convention
    described = f"{convention} ({CONVENTIONS[convention].title})" if convention in CONVENTIONS else convention
    method = f" of {methods[0].name}" if len(methods) == 1 else ""
    return (
        f"{named.name} ({named.title} fusion): mean scores{method} over {pictures}; metric convention: {described}; "
        f"[95 % intervals]: percentile bootstrap over the pictures, seed {seed}"
    )


def _one(
    method: MethodScores, intervals: Mapping[str, Mapping[str, MeanInterval]], higher: Mapping[str, bool]
) -> tuple[Table, list[str]]:
    return table_of_one(intervals[method.name], higher), ["↑ higher is better, ↓ lower is better."]


def _several(
    methods: Sequence[MethodScores], intervals: Mapping[str, Mapping[str, MeanInterval]], higher: Mapping[str, bool]
) -> tuple[Table, list[str]]:
    tests = paired_tests(methods[0].frame, {method.name: method.frame for method in methods[1:]}, higher)
    differing = tests[tests["p_holm"] < _LEVEL]
    table = table_of_several(intervals, higher, set(zip(differing["method"], differing["metric"], strict=True)))
    run = int(tests["p"].notna().sum())
    test = f"Wilcoxon signed-rank test over the pictures, two-sided, zeros split, Holm-corrected for {run} tests"
    notes = [
        "↑ higher is better, ↓ lower is better; in parentheses the rank, ties averaged.",
        f"{SIGNIFICANT} differs from {methods[0].name}, p < {_LEVEL} ({test}).",
    ]
    most = int(tests["pictures"].max()) if run else 0
    # The least p value that n pairs can have is 2^(1−n).
    if run and run * 2.0 ** (1 - most) >= _LEVEL:
        notes.append(f"With {most} pictures no difference can pass that test.")
    return table, notes


def _metric_notes(metrics: Iterable[str]) -> list[str]:
    shown = list(metrics)
    notes = []
    noisy = [metric for metric in shown if metric in CATALOGUE and CATALOGUE[metric].noise_sensitive]
    if noisy:
        notes.append(f"Noise raises {', '.join(noisy)}: no choice rests on them alone.")
    if any(metric.startswith(REFERENCE) for metric in shown):
        notes.append(f"{REFERENCE}…: against the true image.")
    return notes


def _undefined_notes(methods: Sequence[MethodScores], metrics: Iterable[str]) -> list[str]:
    parts = []
    for metric in metrics:
        for method in methods:
            names = [str(name) for name in method.frame.index[method.frame[metric].isna()]]
            if names:
                more = f" … and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
                parts.append(f"{metric} of {method.name}: {', '.join(names[:_NAMES_SHOWN])}{more}")
    return [f"{INCOMPLETE} undefined and left out of the mean: {'; '.join(parts)}."] if parts else []
