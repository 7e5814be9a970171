"""System metrics of a training worker's machine, sampled in the workers, which write nothing to MLflow."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache

import psutil

MEGABYTE = 1e6


def system_metrics() -> dict[str, float]:
    """Returns metrics ``system/…``, which the UI shows under "System metrics".

    - ``process_cpu_percentage``: of this process since the last call (0 at the first), 100 for each busy core;
    - ``process_memory_megabytes``: its resident memory (10⁶ bytes);
    - ``cpu_utilization_percentage``, ``system_memory_usage_percentage``: of the machine;
    - where this process uses CUDA, of its device: ``gpu_memory_allocated_megabytes``,
      ``gpu_peak_memory_allocated_megabytes`` and ``gpu_memory_reserved_megabytes`` (by torch), and
      ``gpu_utilization_percentage`` (by every process on it) if ``nvidia-ml-py`` is installed.
    """
    process = _process()
    values = {
        "process_cpu_percentage": process.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / MEGABYTE,
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_percentage": psutil.virtual_memory().percent,
    }
    return {f"system/{name}": float(value) for name, value in (values | _gpu_metrics()).items()}


def of_worker(numbers: Mapping[str, float], rank: int) -> dict[str, float]:
    """Returns the metrics of ``system_metrics`` among the numbers, as those of one worker of several: by its rank."""
    start = "system/"
    return {
        name.replace(start, f"{start}worker_{rank}_", 1): float(value)
        for name, value in numbers.items()
        if name.startswith(start)
    }


@cache
def _process() -> psutil.Process:
    # psutil measures "since the last call" per object.
    return psutil.Process()


def _gpu_metrics() -> dict[str, float]:
    torch = sys.modules.get("torch")
    # Any other query would initialise CUDA, and take its memory.
    if torch is None or not torch.cuda.is_initialized():
        return {}
    values = {
        "gpu_memory_allocated_megabytes": torch.cuda.memory_allocated() / MEGABYTE,
        "gpu_peak_memory_allocated_megabytes": torch.cuda.max_memory_allocated() / MEGABYTE,
        "gpu_memory_reserved_megabytes": torch.cuda.memory_reserved() / MEGABYTE,
    }
    try:
        values["gpu_utilization_percentage"] = float(torch.cuda.utilization())
    except (ImportError, RuntimeError):  # nvidia-ml-py is missing, or the driver does not answer it
        return values
    return values
