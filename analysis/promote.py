"""Move the alias `best` of a registered model to another version, where a paired test does not say that it is worse.

python analysis/promote.py --task IVIF                # the newest version, which has the alias candidate
python analysis/promote.py --task IVIF --version 7
python analysis/promote.py --task IVIF --run night --force
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.looking.promote import promote_version
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(promote_version, __doc__)
