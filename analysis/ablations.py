"""Ablations: train the same settings with one thing changed, per task and seed, and score the val pairs.

python analysis/ablations.py --task IVIF --data DATA --config results --out ablations
python analysis/ablations.py --task IVIF MFIF --data DATA --config results --variants half saliency --equal time \\
    --processes 2 --out ablations
python analysis/ablations.py --task MEIF --data DATA --config results --device cuda --out ablations
python analysis/ablations.py --task MIF --data DATA --config analysis/results/ablations.yaml --known \\
    analysis/results/ablations.csv --out ablations

What is finished is skipped, and what was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.ablations import ablations
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(ablations, __doc__)
