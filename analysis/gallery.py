"""A row of pictures per task: sources, ours, published and the best baseline, on the pair where they differ most.

python jobs/evaluate.py --task IVIF --data DATA --checkpoint ours=pretrained --checkpoint published=ReFusion_IVIF.pth \\
    --baseline max --baseline guided --save fused --out scores.csv
python analysis/gallery.py --task IVIF --data DATA --scores scores.csv --pictures fused --out gallery/IVIF.png

The part of the picture in which the methods differ most is framed and shown magnified.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.cli.gallery import gallery
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(gallery, __doc__)
