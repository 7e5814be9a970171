"""The program imports its parts by name, as it does when it is run."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[4] / "analysis" / "benchmarks" / "soak"))
