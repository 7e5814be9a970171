from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from gpu import trials
from gpu.trials import measure, random_pairs, trial_rows


def test_several_trials_at_once_have_a_throughput() -> None:
    rows = list(trial_rows("cpu", (1, 2)))
    assert [row.what for row in rows] == ["1 at a time in one process", "2 at a time in one process"]
    assert all(row.value > 0 and math.isfinite(row.value) for row in rows)
    assert rows[0].note == "" and rows[1].note.endswith(" × 1 at a time")


def test_a_trial_that_fails_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trials, "run_phases", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure(2, "cpu")


def test_pairs_are_no_two_alike(tmp_path: Path) -> None:
    pairs = random_pairs(tmp_path)
    assert len({Path(file).read_bytes() for pair in pairs for file in (pair.a, pair.b)}) == 2 * len(pairs)
