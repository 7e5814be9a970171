"""Some tiny trainings in a row and a sweep of some trials, on one Ray: what each of them takes, it gives back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from broken.jobs import LIMIT

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]

SOAK = Path(__file__).resolve().parents[2] / "analysis" / "benchmarks" / "soak" / "soak.py"
RUNS, TRIALS = 8, 14
# Imports, pools and caches are there after so many.
FILLED = 2
# One that each run leaves is 3 more after the second half of the others than after the first, and 6 of each trial.
MOST = 2
COUNTED = (
    "driver: handles", "driver: threads", "driver: exit hooks", "driver: log handlers", "raylet: handles",
    "raylet: threads", "raylet: processes", "dashboard: processes", "workers: processes", "temporary files",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("soak")
    words = ["--runs", str(RUNS), "--trials", str(TRIALS), "--out", str(out)]
    ended = subprocess.run([sys.executable, str(SOAK), *words], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return out


@pytest.mark.parametrize(("kind", "count"), [("runs", RUNS), ("trials", TRIALS)])
def test_nothing_is_left_behind(folder: Path, kind: str, count: int) -> None:
    seen = pd.read_csv(folder / f"{kind}.csv")
    assert seen["after"].iloc[-1] >= count
    counted = seen[seen["after"] > FILLED]
    half = seen["after"].iloc[-1] - (count - FILLED) // 2
    # The least of each, since a trial that is under way holds some more.
    before, after = (
        part[list(COUNTED)].min() for part in (counted[counted["after"] <= half], counted[counted["after"] > half])
    )
    grown = (after - before).dropna()
    assert len(grown) == len(COUNTED)
    assert grown[grown > MOST].to_dict() == {}
