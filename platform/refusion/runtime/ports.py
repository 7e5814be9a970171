"""Ports of this machine that are free, and whether somebody answers at one."""

from __future__ import annotations

import random
import socket

# Above the ports of Ray's workers (10002 to 19999), below those that systems give to outgoing connections.
_RANGE = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Returns so many different ports at which nothing listens, on no address of this machine.

    Raises:
        OSError: there are not so many.
    """
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"there are no {count} free ports between {_RANGE.start} and {_RANGE.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True


def answers(address: str | None) -> bool:
    """Tells whether something listens at ``host:port``; true for other forms of address, which Ray checks."""
    if address is None:
        return False
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=3):
            return True
    except OSError:
        return False


def takes_jobs(address: str, token: str = "") -> bool:
    """Tells whether the job server at ``http://host:port`` lists its jobs by now.

    `ray job list` takes two seconds of work for the same. ``token`` is the cluster's.
    """
    # Here, since who only looks for ports has no use for them.
    import http.client
    import urllib.request

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    asked = urllib.request.Request(f"{address}/api/jobs/", headers=headers)
    # A proxy is for addresses elsewhere.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=10) as answer:
            return int(answer.status) == 200
    except (OSError, http.client.HTTPException):
        return False
