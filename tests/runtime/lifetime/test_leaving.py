"""Ends of interrupted jobs, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Its thread lets go of Ray's objects as soon as Ray's end wakes it up.
WAITING = """
import threading, time
import ray
from refusion.cli.options import run_command
from refusion.runtime import cluster
from refusion.runtime.lifetime.interruption import Interrupted

@ray.remote
def endless():
    time.sleep(600)

def wait_in_ray():
    waited_for = [endless.remote(), endless.remote()]
    try:
        ray.get(waited_for)
    finally:
        del waited_for[:]

def job(arguments, description):
    cluster.connect()
    threading.Thread(target=wait_in_ray, daemon=True).start()
    time.sleep(2)
    print("stored")
    raise Interrupted(15)

run_command(job, "")
"""


@pytest.mark.ray
def test_a_thread_that_waits_in_ray_does_not_change_the_status_of_an_interrupted_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    ended = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 143, ended.stderr
    assert ended.stdout == "stored\n"
    assert ended.stderr == "interrupted\n"
