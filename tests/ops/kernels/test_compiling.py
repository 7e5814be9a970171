"""Every kernel compiles for GPUs that are not here: the interpreter runs much that the compiler refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import refusion.ops.kernels

PROGRAM = Path(__file__).parents[2] / "support" / "gpus" / "compile_kernels.py"


@pytest.mark.slow
def test_kernels_compile_for_an_a100_and_an_h100(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all("lines of PTX" in line for line in lines)
    folder = Path(refusion.ops.kernels.__file__).parent
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert {line.split(".")[0] for line in lines} == modules
