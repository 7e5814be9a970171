"""Hold each data set, or each fold of all pairs, out of training in turn: a folder each, laid out by links.

python analysis/hold_out.py --task MFIF --data DATA --out unseen              # each data set by its pairs' first word
python analysis/hold_out.py --task MEIF --data DATA --folds 4 --out folds     # four folds of train and val, by scenes

Each folder OUT/NAME is a data set for every other command. DATA has TASK/{train,val}/{a,b} in it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.looking.hold_out import hold_out
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(hold_out, __doc__)
