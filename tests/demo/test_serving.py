from __future__ import annotations

import importlib.util
import socket

import pytest

from refusion.cli.looking.demo import demo
from refusion.demo.page import PageOptions
from refusion.demo.serving import run_here
from refusion.errors import UserError


def test_a_port_that_is_taken_is_refused_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--host 127\.0\.0\.1 --port {port}: cannot be used .*another --port"):
            run_here(PageOptions(), "127.0.0.1", port)


def test_a_port_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="must be 0 to 65535"):
        demo(["--port", "70000"], "")


@pytest.mark.skipif(importlib.util.find_spec("gradio") is not None, reason="the extra demo is installed")
def test_without_gradio_a_sentence_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"the demo needs Gradio .*pip install -e '\.\[demo\]'"):
        demo(["--port", "0"], "")
    assert "served at" not in capsys.readouterr().out
