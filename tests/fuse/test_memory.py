"""Memory of a whole fusing, from files to a file, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refusion.images.writing import write_image

# All that is held of whole pictures: their values, the fused luminance, the result and its file, encoded and not.
BYTES_A_PIXEL = 60
STRIPS = 60_000_000
PROGRAM = """
import sys
from pathlib import Path
from refusion.cli.fuse import fuse
from refusion.images import colour
from refusion.networks import tiled_inference
from refusion.networks.tiled import row_maps

colour._PIXELS_AT_ONCE = 1 << 16
row_maps.MOST_BYTES_IN_MEMORY = 0
tiled_inference._ON_CPU = tiled_inference.Tiling(1 << 16, 32, 320)

def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

def run(name):
    folder = Path(sys.argv[1]) / name
    files = ["--a", str(folder / "a.png"), "--b", str(folder / "b.png")]
    assert fuse(["--task", "IVIF", *files, "--out", str(folder / "out"), "--workers", "1"], "") == 0

run("small")
at_rest = most()
run("large")
print("more:", most() - at_rest)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell a process's memory")
def test_a_large_pair_takes_little_memory(tmp_path: Path) -> None:
    height, width = 1000, 1250
    random = np.random.default_rng(0)
    for name, shape in (("small", (64, 64)), ("large", (height, width))):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", random.integers(0, 256, shape, dtype=np.uint8))
        write_image(tmp_path / name / "b.png", random.integers(0, 256, (*shape, 3), dtype=np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    more = int(done.stdout.rsplit("more:", 1)[1])
    # Maps of the whole picture, as the network's own forward pass has them, take 500 bytes a pixel.
    assert more < STRIPS + BYTES_A_PIXEL * height * width, f"{more / 1e6:.0f} MB"
    assert (tmp_path / "large" / "out" / "a.png").is_file()
