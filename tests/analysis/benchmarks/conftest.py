"""The benchmarks import one another by name, as they do when they are run."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[3] / "analysis" / "benchmarks"

sys.path.append(str(BENCHMARKS))
