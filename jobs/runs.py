"""List the runs and sweeps that are kept: state, scores, age, size, how to go on; delete what is superseded.

python jobs/runs.py                       # those of $REFUSION_HOME
python jobs/runs.py --prune               # shows what others have superseded, asks, deletes it, says what that freed
python jobs/runs.py --close               # closes those whose job is gone
python jobs/runs.py --write-waiting       # writes to MLflow what waits since its server was away
python jobs/runs.py --json                # for programs; or --csv
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.looking.runs import runs
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(runs, __doc__)
