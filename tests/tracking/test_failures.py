"""Failures of a tracking server, asked over HTTP, and what is said of them."""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from refusion.errors import UserError
from refusion.tracking.failures import warn_of
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.store import open_store

PAGE = b"<html>\n<head><title>nginx</title></head>\n</html>"


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Address of a server that answers everything with that status and a page of HTML, as a proxy does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "cause", "remedy"),
    [
        (401, "it asks who you are, HTTP status 401", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, "it does not allow this user, or this host name, HTTP status 403", "--allowed-hosts"),
        (404, "there is no MLflow at this address", "check the path"),
        (413, "takes no request of this size", "raise that limit"),
        (500, "it fails itself, HTTP status 500", "its own log says why"),
        (502, "a proxy answers, but no MLflow server behind it, HTTP status 502", "start that server"),
        (200, "what answers there is not MLflow", "check --tracking-uri"),
    ],
)
def test_each_status_has_its_cause_and_its_remedy(status: int, cause: str, remedy: str) -> None:
    with answering(status) as uri, pytest.raises(UserError) as refused:
        open_store(uri, "study")
    message = str(refused.value)
    assert message.startswith(f"the MLflow store {uri} cannot be used (")
    assert cause in message.partition("): ")[0]
    assert remedy in message.partition("): ")[2]
    assert "nginx>" not in message and "\n" not in message


def test_a_write_during_training_names_the_limit_that_it_exceeds(caplog: pytest.LogCaptureFixture) -> None:
    with answering(413) as uri, caplog.at_level(logging.WARNING):
        TaskRecorder(uri, "0" * 32).epoch(0, {"rate": 1.0})
    (line,) = caplog.messages
    assert "HTTP status 413; raise that limit (client_max_body_size in nginx)" in line
    assert "training goes on" in line


def test_what_could_not_be_written_is_said_once() -> None:
    said: list[str] = []
    warn_of("the views", None, said.append)
    warn_of("the views", "it does not answer", said.append)
    assert said == ["warning: the views could not be written to MLflow (it does not answer)"]
