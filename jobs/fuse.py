"""Fuse your own pictures with a trained module.

python jobs/fuse.py --task IVIF --a ir.png --b visible.png --out fused                # the module that comes along
python jobs/fuse.py --checkpoint ~/.refusion/runs/NAME/IVIF/best --task IVIF --a ir.png --b visible.png --out fused
python jobs/fuse.py --checkpoint models:/refusion-IVIF@best --task IVIF --a DIR/a --b DIR/b --out fused
python jobs/fuse.py --task MEIF --sources under.jpg middle.jpg over.jpg --out fused   # stacks, also of folders
python jobs/fuse.py --task IVIF --a ir.mp4 --b visible.mp4 --out fused.mp4            # videos, or folders of frames
python jobs/fuse.py --checkpoint ReFusion_IVIF.pth --task IVIF --a DIR/a --b DIR/b --out fused --device cuda
python jobs/fuse.py --task IVIF --a DIR/a --b DIR/b --out fused --workers 8                # side by side, on Ray
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.fuse import fuse
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(fuse, __doc__)
