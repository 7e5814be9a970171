from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from refusion.reporting.study import Study, read_study
from refusion.reporting.tables import best_settings, best_values, number_text, rich_table, top_rows, trial_table
from refusion.reporting.tables import value_text as text
from refusion.tracking.sweeps import read_sweep


@pytest.fixture(scope="module")
def study(store: str) -> Study:
    return read_study(read_sweep(store, "study", "asha"))


def test_one_row_per_trial_with_its_values(study: Study) -> None:
    table = pd.read_csv(io.StringIO(trial_table(study).to_csv(index=False)))
    assert table["number"].tolist() == list(range(13))
    assert {"ended", "epochs", "score", "average_rank", "SSIM", "EN", "schedule.rate.every"} <= set(table.columns)
    rows = table.set_index("number")
    assert rows.loc[2, "ended"] == "failed: the worker ran out of memory"
    assert math.isnan(rows.loc[2, "score"])
    assert math.isnan(rows.loc[0, "schedule.rate.value"])
    for number, trial in study.trials.items():
        if number:
            assert rows.loc[number, "schedule.rate.value"] == trial.values["schedule.rate.value"]
            assert ("schedule.rate.every" in trial.values) == (not math.isnan(rows.loc[number, "schedule.rate.every"]))
        if trial.ended == "finished":
            assert rows.loc[number, "SSIM"] == trial.history[9]["SSIM"]
            assert rows.loc[number, "average_rank"] == study.ranks[number]


def test_the_default_is_always_shown(study: Study) -> None:
    head, rows = top_rows(study, 2)
    assert len(rows) == 3
    assert [row[1] for row in rows] == [str(study.order[0]), str(study.order[1]), "0 default"]
    assert rows[2][0] == str(study.order.index(0) + 1)
    assert head[-5:] == ["EN", "SCD", "SSIM", "VIF", "Qabf"]
    assert all(len(row) == len(head) for row in rows)


def test_the_terminal_gets_the_objectives_metrics_in_80_columns(study: Study) -> None:
    target = io.StringIO()
    Console(file=target, width=80).print(rich_table(study))
    said = target.getvalue()
    assert "…" not in said
    assert "Qabf" in said
    assert " EN" not in said
    best = study.trials[study.order[0]]
    assert f"{best.history[9]['SSIM']:.4f}" in said


def test_best_settings_beside_the_default(study: Study) -> None:
    assert study.best is not None
    values = study.trials[study.best].values
    rows = {row[0]: row[1:] for row in best_settings(study)[1]}
    assert rows["schedule.rate.value"] == [f"{values['schedule.rate.value']:.4g}", "0.0001"]
    assert rows["schedule.inner_rate"][1] == "–"
    assert f"schedule.inner_steps {values['schedule.inner_steps']}" in best_values(study)


def test_texts() -> None:
    assert (number_text(None), number_text(math.nan), number_text(1 / 3)) == ("–", "–", "0.3333")
    assert (text(None), text(1e-4), text(7), text([1, 0.5])) == ("–", "0.0001", "7", "[1, 0.5]")
    assert text({"kind": "tied", "ratio": 1.0}) == "{kind: tied, ratio: 1}"
