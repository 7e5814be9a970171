"""Score fused pictures, whoever made them: yours, a trained module's, a classical method's, side by side.

python jobs/evaluate.py --fused my-results --task IVIF --a DIR/ir --b DIR/vi --out scores.csv
python jobs/evaluate.py --checkpoint ~/.refusion/runs/NAME/IVIF/best --task IVIF --data builtin --out scores.csv
python jobs/evaluate.py --checkpoint ours=RUN/MIF/best --fused theirs=DIR --baseline laplacian --task MIF \\
    --data /data/fusion --metrics all --format latex --out scores.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.evaluate import evaluate
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(evaluate, __doc__)
