"""Say what a folder of pictures is, check it, and look at it, before anything is trained on it.

python jobs/data.py /data/MSRS                                         # what it is, and what is wrong with it
python jobs/data.py /data/fusion --tasks IVIF MIF --sheet sheet.html   # with a contact sheet
python jobs/data.py /data/films --tasks IVIF --map a=ir,b=vis --split train=80%,val=20% --write /data/fusion
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.data import inspect_data
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(inspect_data, __doc__)
