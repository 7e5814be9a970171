"""Tables of the results page, made anew from the CSV files of evaluations, ablations and audits.

python analysis/results_page.py                                    # docs/results.md from analysis/results
python analysis/results_page.py --results measured --page page.md  # other files, another page

The files: RESULTS/scores/TASK.csv of jobs/evaluate.py, RESULTS/ablations*.csv of analysis/ablations.py and
RESULTS/audit*.csv of analysis/reward_audit.py; RESULTS/adapted/TASK.csv of jobs/evaluate.py --adapt; and of
analysis/ablations.py on other pairs RESULTS/one_for_all.csv, and unseen.csv and folds.csv (analysis/hold_out.py); with
--equal time RESULTS/equal_time.csv.
What stands on the page between its tables is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.options import run_command
from refusion.cli.results_page import results_page

if __name__ == "__main__":
    run_command(results_page, __doc__)
