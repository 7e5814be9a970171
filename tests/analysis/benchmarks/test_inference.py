from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "analysis" / "benchmarks" / "inference.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_prints_the_ratio_and_the_pictures_are_the_same() -> None:
    done = run("--height", "40", "--width", "56", "--repeats", "1", "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    assert [row[0] for row in rows] == [
        "straightforward network",
        "our forward pass",
        "in tiles",
        "in tiles, compiled",
    ]
    assert all(int(row[-1]) <= 1 for row in rows)
    assert re.search(r"in tiles, compiled: [\d.]+ times as fast \(target 3: (met|MISSED)\)", done.stdout)


def test_a_missing_checkpoint_is_a_mistake_of_the_user() -> None:
    done = run("--checkpoint", "nowhere.pth")
    assert done.returncode == 2
    assert "nowhere.pth" in done.stderr
    assert "Traceback" not in done.stderr
