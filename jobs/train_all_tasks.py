"""Meta-train the fusion tasks on a Ray cluster and record them in MLflow.

python jobs/train_all_tasks.py                                              # this machine, built-in scenes
ray job submit -- python jobs/train_all_tasks.py --data /data/fusion        # a cluster, your own pairs
ray job submit -- python jobs/train_all_tasks.py --data /data/fusion --gpu --workers 4 --images.batch 8
python jobs/train_all_tasks.py --preset quick --tasks IVIF --schedule.rate 2e-4
python jobs/train_all_tasks.py --resume 20260131-120000-ab12                # go on where it was stopped
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.options import run_command
from refusion.cli.train import train_all_tasks

if __name__ == "__main__":
    run_command(train_all_tasks, __doc__)
