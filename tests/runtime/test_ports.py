from __future__ import annotations

import socket

import pytest

from refusion.runtime import ports
from refusion.runtime.ports import answers, free_ports


def test_free_ports_are_different_and_outside_of_those_of_rays_workers() -> None:
    found = free_ports(50)
    assert len(set(found)) == 50
    assert all(19_999 < port < 32_768 for port in found)


def test_a_port_on_which_something_listens_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken, free) = free_ports(2)
    monkeypatch.setattr(ports, "_RANGE", range(taken, taken + 1))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", taken))
        listening.listen()
        with pytest.raises(OSError, match="no 1 free ports"):
            free_ports(1)
    assert free != taken


def test_what_listens_answers() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert not answers(address)
        listening.listen()
        assert answers(address)
    assert not answers(None)
    assert answers("ray://somewhere")
