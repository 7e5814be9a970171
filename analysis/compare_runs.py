"""Compare trained runs and evaluated methods of an experiment, from MLflow's store alone: tables and one page.

python analysis/compare_runs.py --experiment NAME --out DIR
python analysis/compare_runs.py --experiment NAME --runs night morning --baseline night --out DIR
python analysis/compare_runs.py --tracking-uri http://other:5000 --experiment NAME --out DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.looking.compare import compare_runs
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(compare_runs, __doc__)
