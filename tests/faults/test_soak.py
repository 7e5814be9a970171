"""Some tiny trainings and trials on one Ray head leave no handles, threads or temporary files behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from broken.jobs import LIMIT

PROGRAM = Path(__file__).resolve().parents[2] / "analysis" / "benchmarks" / "soak" / "soak.py"
# A head that has just begun still opens connections.
WARM = 2

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


def test_trainings_and_trials_leave_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "--runs", "6", "--trials", "6", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    runs, trials = (pd.read_csv(tmp_path / f"{kind}.csv") for kind in ("runs", "trials"))
    assert len(runs) == 6 and trials["after"].max() == 7, "six trials, and trial 0"
    for name in ("driver: handles", "driver: threads", "temporary files"):
        each = runs[name].diff()[WARM:]
        assert (each <= 0).any(), f"{name} grow with every run: {runs[name].to_list()}"
        assert runs[name].iloc[-1] <= runs[name].iloc[WARM] + 2, f"{name}: {runs[name].to_list()}"
    assert set(pd.read_csv(tmp_path / "growth.csv")["kind"]) >= {"runs"}
