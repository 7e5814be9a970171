"""An object store of moto's on loopback, behind a proxy that fails on demand."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Any

import boto3
import pytest

BUCKET, REGION = "ours", "us-east-1"
_ANSWERS = ("reset", 500, 503)
_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Store:
    """A store with one bucket.

    Attributes:
        url: of the proxy.
        every: each so many-th request fails, in turn by a connection that is cut, by status 500 and by 503; 0: none.
        away: no request is answered at all.
        failed: requests that were failed.
        asked: method and path of each request.
    """

    url: str = ""
    every: int = 0
    away: bool = False
    failed: int = 0
    asked: list[str] = field(default_factory=list)
    client: Any = None

    def environment(self, **changes: str) -> dict[str, str]:
        """Names by which programs reach it."""
        named = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "own",
            "AWS_SECRET_ACCESS_KEY": "own",
            # Without a key the SDK would look for a machine's role.
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return named | changes

    def put(self, key: str, content: bytes) -> None:
        """Writes an object past the proxy."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def all_keys(self) -> list[str]:
        """Keys of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]


@contextmanager
def object_store() -> Iterator[Store]:
    """Starts the store, with a bucket ``ours``, and ends it after the block."""
    # Here, since every process of tests imports this module, and moto takes two seconds.
    from moto.server import ThreadedMotoServer

    behind = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    behind.start()
    host, port = behind.get_host_and_port()
    store = Store()
    keys = {"aws_access_key_id": "own", "aws_secret_access_key": "own"}
    store.client = boto3.client("s3", region_name=REGION, endpoint_url=f"http://{host}:{port}", **keys)
    store.client.create_bucket(Bucket=BUCKET)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store, host, port))
    proxy.daemon_threads = True
    store.url = f"http://127.0.0.1:{proxy.server_address[1]}"
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield store
    finally:
        proxy.shutdown()
        proxy.server_close()
        behind.stop()


def emptied(store: Store, home: Path, patch: pytest.MonkeyPatch) -> Store:
    """Returns the store, empty and well, which this process reaches by its environment; its cache is in ``home``."""
    for name, value in store.environment(REFUSION_HOME=str(home)).items():
        patch.setenv(name, value)
    store.every, store.away, store.failed = 0, False, 0
    for key in store.all_keys():
        store.client.delete_object(Bucket=BUCKET, Key=key)
    store.asked.clear()
    return store


def _handler(store: Store, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    answers, lock, count = cycle(_ANSWERS), threading.Lock(), iter(range(1, 1 << 62))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self._body()
            with lock:
                number = next(count)
                fails = store.away or bool(store.every and number % store.every == 0)
                store.asked.append(f"{self.command} {self.path}")
                store.failed += fails
                answer = "reset" if store.away else next(answers) if fails else None
            if answer == "reset":
                # A reset rather than an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            elif isinstance(answer, int):
                self._answer(answer, {}, b"")
            elif "Authorization" not in self.headers:
                self._answer(403, {}, b"")
            else:
                connection = http.client.HTTPConnection(host, port, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                found = connection.getresponse()
                content = found.read()
                self._answer(found.status, dict(found.getheaders()), content)
                connection.close()

        def _body(self) -> bytes:
            if self.headers.get("Expect", "").lower() == "100-continue":
                del self.headers["Expect"]
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            del self.headers["Transfer-Encoding"]
            return b"".join(parts)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            own = {name: value for name, value in headers.items() if name.lower() not in _HOP}
            if self.command != "HEAD":
                own = {name: value for name, value in own.items() if name.lower() != "content-length"}
                own["Content-Length"] = str(len(content))
            elif not any(name.lower() == "content-length" for name in own):
                own["Content-Length"] = "0"
            for name, value in own.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
