"""Tools that the benchmarks share: seconds of a call, peak memory of a call in a fresh process, the machine's name."""

from __future__ import annotations

import math
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

Result = TypeVar("Result")


def timed(call: Callable[[], Result], device: str = "cpu") -> tuple[Result, float]:
    """A call's result and seconds."""
    start = time.perf_counter()
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def peak_in_a_fresh_process(
    prepare: Callable[..., Callable[[], object]], *arguments: Any, threads: int, device: str = "cpu"
) -> float:
    """Bytes that one call adds to a process at rest; NaN where the process was ended, most likely for want of memory.

    A fresh process, since a heap that has grown stays grown. Resident memory on the CPU, allocated memory on a GPU.

    Args:
        prepare: given ``arguments``, builds the call; what that takes does not count. A function of a module.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell_peak, args=(theirs, prepare, arguments, threads, device))
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    except EOFError:
        return math.nan
    finally:
        process.join()


def _tell_peak(
    pipe: Connection,
    prepare: Callable[..., Callable[[], object]],
    arguments: tuple[Any, ...],
    threads: int,
    device: str,
) -> None:
    torch.set_num_threads(threads)
    call = prepare(*arguments)
    at_rest = _bytes_now(device)
    timed(call, device)
    pipe.send(_bytes_at_most(device) - at_rest)


def _bytes_now(device: str) -> float:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return float(psutil.Process().memory_info().rss)


def _bytes_at_most(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `ru_maxrss`, which a new process takes over from its parent.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def machine(device: str = "cpu") -> str:
    """The processor's or the GPU's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
