"""Ports of a job on this machine alone, as the system lists them while its workers train."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from broken.jobs import LIMIT, Place, wait_for

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]
# PyTorch's rendezvous of several workers listens to all and has no setting for it.
RENDEZVOUS = 1


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def test_a_job_of_this_machine_listens_to_this_machine_alone_and_keeps_no_metrics(place: Place, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_ADDRESS"] = "local"
    command = [sys.executable, str(ROOT / "jobs" / "train_all_tasks.py"), *place.arguments("near")]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    job = psutil.Process(process.pid)
    try:
        wait_for(lambda: any(place.task("near").glob("epoch_*")) or process.poll() is not None)
        family = [job, *job.children(recursive=True)]
        listening = {
            (member.name(), connection.laddr.ip)
            for member in family
            for connection in member.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        (raylet,) = (member for member in family if member.name() == "raylet")
        (session,) = (word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--session_dir="))
        metrics = [file.read_text(encoding="utf-8") for file in Path(session).glob("metrics_export_port_*")]
    finally:
        for member in (*job.children(recursive=True), job):
            member.kill()
        process.wait()
    assert len(listening) > 5
    assert metrics == ["-1"]
    open_to_others = {where for where in listening if not is_loopback(where[1])}
    assert len(open_to_others) <= RENDEZVOUS, open_to_others
    assert all("Worker" in name for name, _ in open_to_others), open_to_others
