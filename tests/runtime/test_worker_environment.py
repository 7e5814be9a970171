"""A process with the environment uses freed memory again instead of fetching it anew."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from refusion.runtime.worker_environment import worker_environment

# Page faults of touching 64 MB eight times, in a thread as Ray's workers train in.
PROGRAM = """
import ctypes, resource, threading
def work():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    size = 64 << 20
    for turn in range(9):
        block = libc.malloc(ctypes.c_size_t(size))
        ctypes.memset(block, 1, size)
        libc.free(block)
        if turn == 0:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(environment: dict[str, str], program: str = PROGRAM) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_threads_are_the_workers() -> None:
    environment = worker_environment(3)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")
def test_freed_memory_is_used_again() -> None:
    assert faults(worker_environment(1)) < 100
    assert faults({}) > 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_process_that_has_started_can_be_told_so_too() -> None:
    told = "from refusion.runtime.worker_environment import keep_freed_memory; keep_freed_memory()\n"
    assert faults({}, told + PROGRAM) < 100
