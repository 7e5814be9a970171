"""Try a module out in the browser: drop two pictures, see them fused, weighed, scored and compared.

python jobs/demo.py                                                      # at http://127.0.0.1:7860
python jobs/demo.py --checkpoint authors=ReFusion_IVIF.pth --port 8080   # offers this module too
serve run jobs.demo:app                                                  # as an app of Ray Serve, at port 8000
"""

from __future__ import annotations

import sys
from pathlib import Path

# The code beside this file goes before an installed one: what was submitted is what runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import refusion.cli.early  # noqa: F401
from refusion.cli.looking.demo import app as app  # what `serve run jobs.demo:app` looks for
from refusion.cli.looking.demo import demo
from refusion.cli.options import run_command

if __name__ == "__main__":
    run_command(demo, __doc__)
