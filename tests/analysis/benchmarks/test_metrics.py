from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "analysis" / "benchmarks" / "metrics.py"


@pytest.mark.slow
def test_prints_the_ratio_and_both_sides_agree() -> None:
    options = ["--height", "48", "--width", "64", "--repeats", "1", "--threads", "1", "--large", "176"]
    done = subprocess.run([sys.executable, PROGRAM, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {
        cells[0]: cells[-1] for line in done.stdout.splitlines() if (cells := line.strip("│ ").split()) and "│" in line
    }
    apart = [float(rows[name]) for name in ("EN", "SF", "SD", "SCD", "Qabf", "SSIM", "VIF")]
    assert max(apart) < 1e-9
    assert re.search(r"all seven: [\d.]+ times as fast \(target 10: (met|MISSED)\)", done.stdout)
    assert re.search(r"176×176, all metrics: -?\d+ MB more than at rest", done.stdout)
