"""One Ray for all tests of a directory: it takes seconds to start and to stop."""

from __future__ import annotations

import time

import ray

from refusion.runtime import cluster


def start_ray(cpus: int, *, dashboard: bool = True) -> None:
    """Start Ray with so many CPUs on this machine, unless the directory's tests have it already and all are free.

    `tests/conftest.py` ends it after the directory's last test. Ray Train asks its dashboard, whose dozen processes
    others need not wait for.
    """
    if ray.is_initialized() and not _all_free(cpus):
        # A test that failed has left something running, on which the next ones would wait.
        ray.shutdown()
    if not ray.is_initialized():
        cluster._close_to_others()
        ray.init("local", num_cpus=cpus, logging_level="WARNING", include_dashboard=dashboard)


def _all_free(cpus: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while ray.available_resources().get("CPU") != cpus:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
