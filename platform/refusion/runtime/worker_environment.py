"""Environment of a worker's process: its threads, and memory that it keeps."""

from __future__ import annotations

import ctypes
import platform

# glibc gives every block above 32 MB, and in other threads than the main one any large block, back to the system when
# it is freed; the next one of its size is then zeroed page by page again, which takes as long as the computation
# itself where feature maps are that large. So: one arena, no mappings, nothing given back. The peak stays what it was.
_KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
# The same by mallopt: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD (−1 is never).
_OPTIONS = {-8: 1, -4: 0, -1: -1}


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables of a worker with so many CPUs; other C libraries than glibc pass over the last three."""
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **_KEEP_MEMORY}


def keep_freed_memory() -> None:
    """Applies the last three to a process that has started; without effect where the C library is not glibc."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _OPTIONS.items():
            mallopt(ctypes.c_int(option), ctypes.c_int(value))
