"""Audit of a reward: does the reconstruction loss prefer the pictures that quality metrics prefer?

For each way to fuse, a reconstruction module R is trained from the same start to rebuild the sources from the fused
train pictures; its loss on the val pictures is what the reward thinks of that way to fuse.

python analysis/reward_audit.py --task MFIF --data /data/fusion --reward published salient --channel-noise 0.1 \\
    --out audit.csv
python analysis/reward_audit.py --task IVIF --data /data/fusion --baseline max guided \\
    --checkpoint ours=RUN/IVIF/best --reward my_rewards:structural --width 16 32 --seeds 3 \\
    --device cuda --out audit.csv

Fits that the file already holds are not done again.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.audit import audit
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(audit, __doc__)
