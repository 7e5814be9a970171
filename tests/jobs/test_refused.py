"""A wrong request as its user sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_exits_with_2_and_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "REFUSION_HOME": str(tmp_path)}
    command = [sys.executable, str(ROOT / "jobs" / "train_all_tasks.py"), "--images.crop", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --images.crop")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
