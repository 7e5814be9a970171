"""One Ray for all tests of a directory: it takes seconds to start and to stop."""

from __future__ import annotations

import ray

from refusion.runtime import cluster


def start_ray(cpus: int) -> None:
    """Start Ray with so many CPUs on this machine, unless the directory's tests have it already.

    `tests/conftest.py` ends it after the directory's last test.
    """
    if not ray.is_initialized():
        cluster._close_to_others()
        ray.init("local", num_cpus=cpus, logging_level="WARNING")
    assert ray.cluster_resources()["CPU"] == cpus
