"""Tables of trials: all for the CSV file, the best ones as texts for the terminal and the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from refusion.reporting.study import DEFAULT_TRIAL, Study, get_setting

NO_VALUE = "–"
# Columns before the metrics in the table of the page.
_PLACE, _TRIAL, _ENDED, _EPOCHS, _SCORE, _RANK = "", "trial", "ended", "epochs", "score", "average rank"
_FIRST_METRIC = 6
_METRICS_IN_TERMINAL = 4


def trial_table(study: Study) -> pd.DataFrame:
    """Returns one row per trial, by number: ending, score, average rank, metrics at its last epoch, values.

    A parameter that a trial does not have (the default has none) is empty; values that are mappings or lists are JSON.
    """
    parameters = [parameter.name for parameter in study.space.parameters]
    rows = []
    for number, trial in sorted(study.trials.items()):
        history = study.histories.get(number, {})
        row: dict[str, Any] = {
            "number": number,
            "ended": trial.ended,
            "epochs": max(trial.history, default=0),
            "seconds": round(trial.seconds, 1),
            "score": study.scores.get(number),
            "average_rank": study.ranks.get(number),
        }
        row |= {key: history[max(history)].get(key) if history else None for key in study.metrics}
        row |= {name: _plain(trial.values.get(name)) for name in parameters}
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else value


def top_rows(study: Study, count: int = 10) -> tuple[list[str], list[list[str]]]:
    """Returns head and rows of the best trials, and of the default settings where they are not among them."""
    shown = study.order[:count]
    if DEFAULT_TRIAL in study.trials and DEFAULT_TRIAL not in shown:
        shown = [*shown, DEFAULT_TRIAL]
    head = [_PLACE, _TRIAL, _ENDED, _EPOCHS, _SCORE, _RANK, *study.metrics]
    return head, [_row(study, number) for number in shown]


def _row(study: Study, number: int) -> list[str]:
    trial, history = study.trials[number], study.histories.get(number, {})
    last = history[max(history)] if history else {}
    return [
        str(study.order.index(number) + 1),
        f"{number} default" if number == DEFAULT_TRIAL else str(number),
        trial.ended,
        str(max(trial.history, default=0)),
        number_text(study.scores.get(number), 3),
        number_text(study.ranks.get(number), 2),
        *(number_text(last.get(key)) for key in study.metrics),
    ]


def rich_table(study: Study, count: int = 10) -> Table:
    """Returns the best trials for a terminal of 80 columns, with the objective's metrics as far as they fit."""
    _, rows = top_rows(study, count)
    keys = [key for key in study.metrics if key in study.keys][:_METRICS_IN_TERMINAL]
    places = [_FIRST_METRIC + study.metrics.index(key) for key in keys]
    table = Table(title=f"{study.sweep.name}: the best of {len(study.trials)} trials", box=SIMPLE_HEAD)
    table.collapse_padding = True
    table.pad_edge = False
    for name in (_TRIAL, _ENDED):
        table.add_column(name, no_wrap=True)
    for name in (_EPOCHS, _SCORE, "rank", *keys):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        _, trial, ended, *numbers = row[:_FIRST_METRIC]
        table.add_row(trial, ended.partition(":")[0], *numbers, *(row[place] for place in places))
    return table


def best_settings(study: Study) -> tuple[list[str], list[list[str]]]:
    """Returns head and rows: each searched setting, the best trial's value, the default's."""
    base = study.sweep.spec.get("base", {})
    best = study.trials[study.best].values if study.best in study.trials else {}
    names = [parameter.name for parameter in study.space.parameters]
    return (
        ["setting", "best trial", "default"],
        [[name, value_text(best.get(name)), value_text(get_setting(base, name))] for name in names],
    )


def changed_settings(study: Study) -> tuple[list[str], list[list[str]]]:
    """Returns head and rows of ``best_settings``, without those in which the best trial has the default's value."""
    head, rows = best_settings(study)
    return head, [row for row in rows if row[1] not in (NO_VALUE, row[2])]


def best_values(study: Study) -> str:
    """Returns the best trial's values in one line; empty where they are the default's."""
    values = study.trials[study.best].values if study.best in study.trials else {}
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items())


def number_text(value: float | None, digits: int = 4) -> str:
    """Returns a score with its digits; a dash where there is none."""
    return NO_VALUE if value is None or math.isnan(value) else f"{value:.{digits}f}"


def value_text(value: Any) -> str:
    """Returns a parameter's value, short: floats with four digits, mappings as ``{kind: tied, ratio: 1}``."""
    if value is None:
        return NO_VALUE
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {value_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(inner) for inner in value) + "]"
    return str(value)
