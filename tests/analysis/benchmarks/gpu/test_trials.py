from __future__ import annotations

import math

import pytest
from gpu import trials
from gpu.trials import trial_rows, why_not


def test_without_a_package_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "find_spec", lambda name: None if name == "ray" else object())
    assert why_not() == "there is no ray"
    (row,) = trial_rows("cuda")
    assert math.isnan(row.value)
    assert row.note == "not run: there is no ray"


def test_on_a_cpu_no_sweep_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "why_not", lambda: "")
    monkeypatch.setattr(trials, "measured", lambda _: pytest.fail("a sweep"))
    (row,) = trial_rows("cpu")
    assert row.note.startswith("not run")


def test_what_a_sweep_says_is_shown_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ROOT", trials.ROOT / "nowhere")
    row = trials.measured(4)
    assert row.what == "4 trials at once"
    assert "No such file" in row.note
