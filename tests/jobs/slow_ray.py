"""Runs a program on a machine that is too slow for Ray: its raylet is stopped at once, and the clock goes faster."""

from __future__ import annotations

import runpy
import signal
import sys
import threading
import time
from pathlib import Path

import psutil

_FASTER = 100


def stop_raylet() -> None:
    """Stops the first raylet below this process, and prints its process id."""
    while True:
        for process in psutil.Process().children(recursive=True):
            if process.name() == "raylet":
                process.send_signal(signal.SIGSTOP)
                print("stopped", process.pid, flush=True)
                return
        time.sleep(0.02)


if __name__ == "__main__":
    own, began = time.monotonic, time.monotonic()
    time.monotonic = lambda: began + _FASTER * (own() - began)
    threading.Thread(target=stop_raylet, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
