"""Page of a sweep: its sections in their order, what to do first, rows of settings last."""

from __future__ import annotations

import math

from refusion.reporting.page import Rows, Section, figure_section, render
from refusion.reporting.space_plots import contour, importance_chart, parallel_coordinates, shared_parameters, slices
from refusion.reporting.study import DEFAULT_TRIAL, Study, endings
from refusion.reporting.sweep_outcome import compared, result_sentence, what_to_do
from refusion.reporting.tables import best_settings, number_text, top_rows
from refusion.reporting.training_plots import endings_chart, learning_curves, lineage_chart, schedule_chart

SCORE = (
    "The score of a trial is its standing: the share of the objective's comparisons with the other trials that it "
    "wins, each two compared at the last epoch that both have finished."
)


def sweep_page(study: Study, ui: str) -> str:
    """Returns the page as HTML.

    Args:
        study: the sweep with its scores.
        ui: the command or address that opens MLflow's UI.
    """
    sweep = study.sweep
    foot = f"Every trial is a run of the sweep's run {sweep.run_id} in MLflow; open the UI with: {ui}"
    return render(f"Sweep {sweep.name}", [result_sentence(study)], sections(study), foot)


def searched(study: Study) -> list[str]:
    """Returns paragraphs on the search and its method."""
    spec = study.sweep.spec
    ended = ", ".join(f"{count} {name}" for name, count in endings(study).items()) or "none begun"
    parameters = len(study.space.parameters)
    paragraphs = [
        f"{parameters} parameter{'s' * (parameters != 1)} of {', '.join(spec['tasks'])} searched by "
        f"{spec.get('searcher', '?')} with the scheduler {spec.get('scheduler', '?')} (seed {spec.get('seed', '?')}): "
        f"{len(study.trials)} trials of at most {spec.get('epochs', '?')} epochs ({ended}), trial 0 with the base "
        f"settings among them, scored by {_objective(study)}."
    ]
    if fixed := spec.get("fixed"):
        given = ", ".join(f"{name} {value}" for name, value in fixed.items())
        paragraphs.append(f"Fixed by the command line, and so not searched: {given}.")
    return paragraphs


def _objective(study: Study) -> str:
    kinds = {"value": "", "rank": "the average rank in ", "pareto": "the Pareto front of "}
    return kinds[study.objective.kind] + study.objective.text.removeprefix("pareto:")


def sections(study: Study) -> list[Section]:
    """Returns all sections; a picture that cannot be made is replaced by the reason."""
    found = [
        what_to_do(study),
        _importance(study),
        _curves(study),
        figure_section(
            "Score by parameter",
            f"{SCORE} The star is the best trial, the dashed line trial 0; darker points finished more "
            "epochs." + _changed(study),
            lambda: slices(study),
        ),
        figure_section(
            "Learning rate against inner steps",
            "Score interpolated between the trials (points); the star is the best. Read it only near the points.",
            lambda: contour(study),
        ),
    ]
    if study.evolves:
        found += [
            figure_section(
                "Lineage",
                "Each row is a trial; an upright joins a trial that took over another's weights to the other. Only "
                "what survived to the end is drawn, the best trial's descent in orange.",
                lambda: lineage_chart(study),
            ),
            figure_section(
                "Schedules that were found",
                "Values over the epochs along the descent of each trial, the best in orange.",
                lambda: schedule_chart(study),
            ),
        ]
    return [
        *found,
        figure_section(
            "All parameters at once",
            "Each line is a trial, darker with a higher score, the best in orange; it breaks off where a trial does "
            "not have the parameter.",
            lambda: parallel_coordinates(study),
        ),
        figure_section(
            "How far each trial came",
            "Finished epochs of every trial and how it ended; dashed lines are the rungs, where trials may be stopped.",
            lambda: endings_chart(study),
        ),
        *_held_out(study),
        _top(study),
        Section("How it was searched", searched(study)),
        _settings(study),
    ]


def _changed(study: Study) -> str:
    return " Values changed while the trials were trained: these are the last ones." if study.evolves else ""


def _settings(study: Study) -> Section:
    text = study.sweep.best_yaml
    table = Rows(*best_settings(study)) if study.best not in (None, DEFAULT_TRIAL) else None
    if text is None:
        return Section("All settings", ["The sweep has not written its best settings yet."], table)
    return Section("All settings", [], table, collapsible=("best.yaml", text))


def _held_out(study: Study) -> list[Section]:
    comparison = compared(study)
    if comparison is None:
        return []
    rows = [
        [
            key,
            number_text(found.ours),
            number_text(found.reference),
            f"{found.difference.mean:+.4f}" if found.pairs else number_text(None),
            f"{found.difference.low:+.4f} to {found.difference.high:+.4f}"
            if math.isfinite(found.difference.low)
            else number_text(None),
            str(found.pairs),
        ]
        for key, found in comparison.metrics.items()
    ]
    head = ["metric", f"trial {study.best}", "default", "mean difference", "95 % interval", "pairs"]
    text = "Means over pairs that the search has not seen; the interval is of the paired difference (bootstrap)."
    return [Section("On held-out images", [text], Rows(head, rows))]


def _top(study: Study) -> Section:
    head, rows = top_rows(study)
    marked = {}
    for place, row in enumerate(rows):
        number = int(row[1].split()[0])
        if number in (study.best, DEFAULT_TRIAL):
            marked[place] = "best" if number == study.best else "default"
    text = f"{SCORE} Average rank and order are by the last epoch; trials that did not reach it follow by score."
    noise = "Metrics are those of each trial's last validated epoch; noise raises EN, SD, SF and AG."
    return Section("The best trials", [text, noise], Rows(head, rows, marked))


def _curves(study: Study) -> Section:
    caption = "The objective's metrics on the validation images; very bad trials may lie outside the frame."
    return figure_section("Learning curves", caption, lambda: learning_curves(study))


def _importance(study: Study) -> Section:
    shared, conditional = shared_parameters(study)
    left_out = f" Left out, since only some trials have them: {', '.join(conditional)}." if conditional else ""
    caption = (
        f"How much of the score's variance each parameter explains by itself (fANOVA) over {len(study.compared)} "
        f"trials and {len(shared)} parameters that all of them have.{left_out}{_changed(study)}"
    )
    return figure_section("Which parameters mattered", caption, lambda: importance_chart(study))
