"""One look at what a job's processes hold: memory, handles, threads, and the files that they leave."""

from __future__ import annotations

import atexit
import gc
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20
# Processes of a Ray head, by a part of their command lines; the first that fits counts.
_ROLES = {
    "gcs": "gcs_server",
    "raylet": "raylet/raylet ",
    "agents": "/agent.py",
    "agents ": "runtime_env/agent/main.py",
    "log monitor": "log_monitor.py",
    "dashboard": "dashboard",
    "workers": "ray::",
    "workers ": "default_worker.py",
}
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Places:
    """Folders whose files are counted.

    Attributes:
        temporary: where the job and its workers put temporary files.
        session: where Ray keeps logs and sockets.
    """

    temporary: Path
    session: Path


def sample(places: Places) -> dict[str, float]:
    """Returns the quantities by name: of this process, of each part of Ray, and of the folders.

    Memory is what a process has allocated and not given back, in MiB: pages of no file, since those of a library are a
    process's own or shared depending on what else runs on the machine.
    """
    # Thread pools and connections in reference cycles go with the next collection, whenever that would come.
    gc.collect()
    own = psutil.Process()
    found: dict[str, list[psutil.Process]] = {"driver": [own]} | {role.strip(): [] for role in _ROLES}
    for process in own.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline()) + " "
            role = next((role for role, part in _ROLES.items() if part in command), None)
            if role is not None:
                found[role.strip()].append(process)
    numbers: dict[str, float] = {}
    for role, processes in found.items():
        numbers[f"{role}: MiB"] = _sum(processes, _allocated)
        numbers[f"{role}: handles"] = _sum(processes, lambda process: process.num_fds())
        numbers[f"{role}: threads"] = _sum(processes, lambda process: process.num_threads())
        numbers[f"{role}: processes"] = len(processes)
    numbers["driver: exit hooks"] = atexit._ncallbacks()
    numbers["driver: log handlers"] = _log_handlers()
    numbers["temporary files"] = _files(places.temporary)
    numbers["Ray's session: files"] = _files(places.session)
    numbers["Ray's session: MiB"] = _bytes(places.session) / MIB
    numbers["/dev/shm: files"] = _files(_SHARED_MEMORY)
    return numbers


def _sum(processes: list[psutil.Process], quantity: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes:
        # One that ends meanwhile holds nothing.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += quantity(process)
    return total


def _allocated(process: psutil.Process) -> float:
    memory = process.memory_info()
    return float(memory.rss - memory.shared) / MIB


def _log_handlers() -> int:
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    return sum(len(getattr(logger, "handlers", ())) for logger in loggers)


def _files(folder: Path) -> int:
    return sum(len(files) + len(folders) for _, folders, files in os.walk(folder))


def _bytes(folder: Path) -> int:
    total = 0
    for at, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += (Path(at) / name).lstat().st_size
    return total
