"""Place of a run's writes to MLflow that wait: within its folder, or, where that is in an object store, in our home."""

from __future__ import annotations

import hashlib
from pathlib import Path

from refusion.home import refusion_home
from refusion.runtime.ending import local_path
from refusion.runtime.storage import Folder

WAITING = "waiting"


def waiting_folder(folder: Folder) -> Path:
    """Returns the folder of a run's or a sweep's writes that wait, on this machine's disks."""
    place = local_path(folder.uri)
    if place is not None:
        return place / WAITING
    name = folder.uri.rpartition("/")[2]
    # Runs of one name in two buckets are two runs.
    return refusion_home() / WAITING / f"{name}-{hashlib.sha256(folder.uri.encode()).hexdigest()[:8]}"
