from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# A pool of one, whose process says its number and then works for longer than any test waits.
PROGRAM = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from refusion.ablations.orphans import end_with_parent

if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent) as process:
        print(process.submit(os.getpid).result(), flush=True)
        process.submit(time.sleep, 600).result()
"""


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_parents_process_ends_too(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)
