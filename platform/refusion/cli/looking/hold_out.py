"""Hold each data set, or each fold of all pairs, out of training in turn: a folder each, laid out by links.

python analysis/hold_out.py --task MFIF --data DATA --out unseen              # each data set by its pairs' first word
python analysis/hold_out.py --task MEIF --data DATA --folds 4 --out folds     # four folds of train and val, by scenes

Each folder OUT/NAME is a data set for every other command. DATA has TASK/{train,val}/{a,b} in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from refusion.cli.options import Parser
from refusion.tasks import find_task


def hold_out(arguments: Sequence[str], description: str) -> int:
    """Lay the parts out; returns the exit status.

    Raises:
        UserError: the request or the data is at fault.
    """
    parser = Parser(description)
    parser.add_argument("--task", "--tasks", nargs="+", required=True, metavar="T", help="fusion tasks")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="TASK/{train,val}/{a,b} in it")
    parser.add_argument("--folds", type=_folds, metavar="N", help="folds of all pairs [data sets of the val pairs]")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="for OUT/NAME/TASK/{train,val}/{a,b}")
    options = parser.parse_args(list(arguments))
    from refusion.inspection.hold_out import TRAIN, VAL, by_data_set, by_fold, listed, write_held_out

    root, out = options.data.expanduser().absolute(), options.out.expanduser().absolute()
    for task in dict.fromkeys(find_task(name).name for name in options.task):
        splits = {split: listed(root, task, split) for split in (TRAIN, VAL)}
        parts = by_data_set(splits) if options.folds is None else by_fold(splits, options.folds)
        write_held_out(out, task, parts)
        for part in parts:
            print(f"{out / part.name}: {task}, {len(part.train)} pairs to train on, {len(part.val)} to score")
    return 0


def _folds(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return value


_folds.__name__ = "whole number"
