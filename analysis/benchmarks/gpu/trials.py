"""Trials per hour of a sweep whose trials share one process, by how many at once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gpu.rows import Row

ROOT = Path(__file__).resolve().parents[3]
OPTION = "--trials-per-gpu"
TOGETHER = {"cuda": (1, 4, 16), "cpu": ()}
# Of each trial: epochs, meta-iterations and fusion updates, batch and crop.
_SETTINGS = {
    "schedule.epochs": "2", "schedule.meta_iterations": "40", "schedule.fusion_steps": "20", "images.batch": "4",
    "images.crop": "64", "validation.images": "1", "validation.at_start": "false", "validation.pictures": "0",
}  # fmt: skip


def trial_rows(device: str) -> Iterator[Row]:
    """Trials per hour, begin and end of the sweep included, at 1, 4 and 16 at once."""
    reason = why_not()
    if reason:
        yield Row("trials", "all of it", note=f"not run: {reason}")
    elif not TOGETHER[device]:
        yield Row("trials", "all of it", note="not run: a card's memory is what is shared")
    else:
        for together in TOGETHER[device]:
            yield measured(together)


def why_not() -> str:
    """Reason why no sweep can run here; empty where one can."""
    missing = [name for name in ("ray", "mlflow", "optuna") if find_spec(name) is None]
    if missing:
        return f"there is no {', '.join(missing)}"
    texts = (file.read_text(encoding="utf-8") for file in (ROOT / "platform" / "refusion" / "cli").rglob("*.py"))
    return "" if any(OPTION in text for text in texts) else f"sweeps have no {OPTION}"


def measured(together: int) -> Row:
    """The row of one sweep of as many trials as run at once."""
    what = f"{together} trial{'' if together == 1 else 's at once'}"
    settings = [word for name, value in _SETTINGS.items() for word in (f"--{name}", value)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "REFUSION_HOME": folder, "PYTHONPATH": str(ROOT / "platform")}
        command = [
            *(sys.executable, str(ROOT / "jobs" / "sweep.py"), "--task", "IVIF", "--data", "builtin", "--gpu"),
            *("--trials", str(together), OPTION, str(together), "--scheduler", "none", *settings),
        ]
        start = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        spent = time.monotonic() - start
    if done.returncode:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no word")
        return Row("trials", what, note=f"not run: {reason.strip()}")
    return Row("trials", what, 3600 * together / spent, "trials an hour", note=f"{spent:.0f} s in all")
