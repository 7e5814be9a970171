"""A proxy on loopback in front of a server, which delays every request and notes which epochs it passes on."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Of one connection alone, to which they do not apply on the next one.
_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")
# A number that each epoch has.
EVERY_EPOCH = "rate"


class Slow:
    """The proxy.

    Attributes:
        seconds: that each request waits before it is passed on.
        epochs: of whose numbers the server has taken, in that order.
    """

    def __init__(self, port: int) -> None:
        self.server_port, self.seconds = port, 0.0
        self.epochs: list[int] = []

    def took(self, path: str, body: bytes) -> None:
        """Note what the server has taken."""
        if path.endswith("/runs/log-batch"):
            metrics: list[dict[str, Any]] = json.loads(body).get("metrics", [])
            self.epochs += [int(metric.get("step", 0)) for metric in metrics if metric["key"] == EVERY_EPOCH]


@contextmanager
def slow_proxy(port: int) -> Iterator[tuple[str, Slow]]:
    """Yields the proxy's address and its state; ``port`` is the server's."""
    slow = Slow(port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(slow.seconds)
            server = http.client.HTTPConnection("127.0.0.1", slow.server_port, timeout=120)
            try:
                own = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                server.request(self.command, self.path, body, own)
                answer = server.getresponse()
                content = answer.read()
                if answer.status == 200:
                    slow.took(self.path, body)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                # Who asked, or the server, is gone.
                self.close_connection = True
            finally:
                server.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", slow
    finally:
        server.shutdown()
        server.server_close()
