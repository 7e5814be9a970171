"""Search learning-rate and inner-step schedules (and more) for one fusion task or several, recorded in MLflow.

python jobs/sweep.py --task IVIF --trials 16 --data /data/fusion                  # Optuna's TPE, ASHA stops the weak
python jobs/sweep.py --task IVIF --trials 4 --scheduler pbt --data /data/fusion   # a population that changes on its way
python jobs/sweep.py --task all --search random --scheduler none                  # one schedule for all four tasks
python jobs/sweep.py --config my-space.yaml --task MIF --objective SSIM,Qabf:2    # your own space
ray job submit -- python jobs/sweep.py --task MEIF --trials 64 --gpu --gpu-per-trial 0.25 --data /data/fusion
python jobs/sweep.py --resume 20260131-120000-ab12                                # go on where it was stopped
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.options import run_command
from refusion.cli.sweep import sweep

if __name__ == "__main__":
    run_command(sweep, __doc__)
