"""Machines of one's own: namespaces of network, processes, mounts and host name, joined by a bridge.

What runs in one sees neither the processes nor the addresses of the others, so that `ray stop` ends what is its own.
All of it is gone when the context ends, whatever the machines were doing.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

_NETWORK = "10.231.77"


@dataclass(frozen=True)
class Machine:
    """One machine: its first process, address and home."""

    pid: int
    address: str
    home: Path

    def start(self, command: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command of bash there, as a login of `ray up` would."""
        names = {"HOME": str(self.home), "LANG": "C.UTF-8", **environment}
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--uts", "--"]
        with log.open("ab") as out:
            return subprocess.Popen(
                [*enter, "bash", "-c", command], env=names, cwd=self.home, stdout=out, stderr=subprocess.STDOUT
            )

    def run(self, command: str, environment: Mapping[str, str], log: Path, seconds: float = 100) -> int:
        """Run a command to its end and return its exit status."""
        process = self.start(command, environment, log)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"{command}: has not ended after {seconds:g} s: {log.read_text()[-4000:]}")


def _call(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@contextmanager
def _process() -> Iterator[int]:
    """Start the first process of a machine, with which the machine ends."""
    apart = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
    keeper = subprocess.Popen([*apart, "sleep", "infinity"])
    try:
        limit = time.monotonic() + 20
        while not (children := psutil.Process(keeper.pid).children()):
            if keeper.poll() is not None or time.monotonic() > limit:
                raise OSError("unshare failed")
            time.sleep(0.02)
        yield children[0].pid
    finally:
        for child in psutil.Process(keeper.pid).children() if keeper.poll() is None else ():
            child.kill()
        keeper.kill()
        keeper.wait()


@contextmanager
def machines(folder: Path, names: Sequence[str], own: Path) -> Iterator[list[Machine]]:
    """Yield machines of these names, whose homes lie in ``folder``; each has an empty folder ``own`` of its own.

    Skips the test where namespaces cannot be made.
    """
    bridge = f"br{os.getpid()}"
    own.mkdir()
    with ExitStack() as stack:
        stack.callback(own.rmdir)
        try:
            _call("ip", "link", "add", bridge, "type", "bridge")
            stack.callback(_call, "ip", "link", "del", bridge)
            _call("ip", "link", "set", bridge, "up")
            made = []
            for at, name in enumerate(names):
                pid, end = stack.enter_context(_process()), f"ve{os.getpid()}.{at}"
                _call("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", pid)
                # The network of a machine that is gone lives on for as long as its connections take to end.
                stack.callback(_call, "ip", "link", "del", end)
                _call("ip", "link", "set", end, "master", bridge, "up")
                made.append(_settle(pid, f"{_NETWORK}.{at + 1}", name, folder, own))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no namespaces can be made here ({error})")
        yield made


def _settle(pid: int, address: str, name: str, folder: Path, own: Path) -> Machine:
    """Give a machine its address, its name, its home and its own folder."""
    inside = ["nsenter", f"--target={pid}", "--net", "--mount", "--uts", "--"]
    _call(*inside, "ip", "address", "add", f"{address}/24", "dev", "eth0")
    for link in ("lo", "eth0"):
        _call(*inside, "ip", "link", "set", link, "up")
    _call(*inside, "ip", "route", "add", "default", "via", address)
    _call(*inside, "hostname", name)
    _call(*inside, "mount", "-t", "tmpfs", "tmpfs", own)
    home = folder / name
    home.mkdir()
    return Machine(pid, address, home)
