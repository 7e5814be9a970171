"""Heads of clusters that `ray start` starts, as somebody's else or as the one that jobs are submitted to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from refusion.runtime.ports import free_ports, takes_jobs


@dataclass(frozen=True)
class Head:
    """Addresses of a head: ``address`` takes drivers, ``jobs`` is the job server's."""

    address: str
    jobs: str


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables of a user whose homes are below ``home``, without what this process knows of a Ray."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    own |= {"HOME": str(home / "home"), "REFUSION_HOME": str(home / "refusion"), "RAY_TMPDIR": "/tmp"}
    (home / "home").mkdir(parents=True, exist_ok=True)
    return own | {"PATH": f"{Path(sys.executable).parent}:{own['PATH']}", **more}


@contextmanager
def ray_head(place: Path, cpus: int, own: dict[str, str], *, default_agent: bool = False) -> Iterator[Head]:
    """A head that takes jobs; it is ended with all that it started.

    Args:
        place: folder for its log.
        cpus: that it offers.
        own: its environment.
        default_agent: the dashboard's agent listens at its default port, where one more cannot.
    """
    port, dashboard, client, agent = free_ports(4)
    command = ["ray", "start", "--head", "--block", f"--num-cpus={cpus}", "--disable-usage-stats"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    command += [] if default_agent else [f"--dashboard-agent-listen-port={agent}"]
    with (place / "log.txt").open("w") as log:
        head = subprocess.Popen(
            [*command, f"--temp-dir=/tmp/r{port}"], env=own, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while "will now block forever" not in (said := (place / "log.txt").read_text()):
            assert head.poll() is None, said
            time.sleep(0.2)
        started = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
        while not takes_jobs(started.jobs, own.get("RAY_AUTH_TOKEN", "")):
            assert head.poll() is None
            time.sleep(1)
        yield started
    finally:
        if head.poll() is None:
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        subprocess.run(["rm", "-rf", f"/tmp/r{port}"], check=True)
