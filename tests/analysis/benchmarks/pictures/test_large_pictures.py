from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[4] / "analysis" / "benchmarks" / "pictures" / "large_pictures.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_prints_the_ratio_the_peaks_and_that_the_pictures_are_the_same() -> None:
    done = run("--height", "70", "--width", "80", "--repeats", "1", "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    assert [row[0] for row in rows] == ["all at once", "strips, maps in memory", "strips, maps in a file", "as fused"]
    assert all(int(row[-1]) <= 1 for row in rows)
    assert all(float(row[3]) >= 0 for row in rows)
    assert re.search(
        r"as fused: [\d.]+ times the time of all at once \(target at most 1.5: (met|MISSED)\)", done.stdout
    )


def test_a_size_of_nothing_is_a_mistake_of_the_user() -> None:
    done = run("--height", "0")
    assert done.returncode == 2
    assert "--height must be at least 1" in done.stderr
