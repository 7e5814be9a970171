from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from refusion.runtime import ports
from refusion.runtime.ports import answers, free_ports, takes_jobs


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


class JobServer(BaseHTTPRequestHandler):
    """Ray's job server, as far as it is asked, with a token."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Bearer secret"
        self.send_response((200 if known else 401) if self.path == "/api/jobs/" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), JobServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_takes_jobs_of_those_who_have_its_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy knows nothing of this machine.
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert takes_jobs(address, "secret")
    assert not takes_jobs(address) and not takes_jobs(address, "another")


def test_it_takes_none_before_it_listens() -> None:
    assert not takes_jobs(f"http://127.0.0.1:{free_ports(1)[0]}")
