"""Report of a sweep as one page: best settings, learning curves, which parameters mattered.

python analysis/sweep_report.py --sweep NAME --out DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.options import run_command
from refusion.cli.sweep_report import sweep_report

if __name__ == "__main__":
    run_command(sweep_report, __doc__)
