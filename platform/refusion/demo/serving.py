"""Demo as a web app: by itself, or as an app of Ray Serve (``serve run jobs.demo:app``)."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from refusion.config.ranges import Reading
from refusion.demo.environment import gradio
from refusion.demo.page import PageOptions, build_page
from refusion.errors import UserError
from refusion.runtime.serving.app import serve_app

LOOPBACK, PORT = "127.0.0.1", 7860
_STYLE = """
.fault { padding: .7em 1em; border-left: 4px solid #c0392b; background: #c0392b18; }
.note { padding: .3em 0; opacity: .8; overflow-wrap: anywhere; }
table.scores { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
table.scores th, table.scores td { padding: .15em .6em; text-align: right; white-space: nowrap;
  border: 0 !important; }
table.scores th:first-child { text-align: left; }
table.scores tbody tr:nth-child(odd) { background: #8881; }
"""


def web_app(options: PageOptions) -> Any:
    """Returns the ASGI application; nothing that it shows or does is fetched from elsewhere.

    Raises:
        UserError: Gradio is not installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="refusion-demo-"))
    # What visitors have dropped goes when the server ends.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("GRADIO_TEMP_DIR", str(folder / "cache"))
    gr = gradio()
    from fastapi import FastAPI

    # Fonts of the system: those of Gradio's own theme would come from Google.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        build_page(options, folder).queue(max_size=20),
        path="/",
        theme=theme,
        css=_STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        max_file_size=int(options.megapixels * 8e6),
        allowed_paths=[str(folder)],
    )


def run_here(options: PageOptions, host: str, port: int) -> None:
    """Serves the demo from this process until it is interrupted.

    Raises:
        UserError: Gradio is not installed, or the address cannot be used.
    """
    try:
        listening = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port}: cannot be used ({reason}); choose another --port") from error
    with listening:
        import uvicorn

        app = web_app(options)
        address = f"http://{host}:{listening.getsockname()[1]}"
        print(f"the demo is served at {address} (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on")).run(sockets=[listening])


def options_of(named: Sequence[str], **others: Any) -> PageOptions:
    """Returns the page's options, with the modules that were named as ``NAME=C`` or ``C``.

    >>> options_of(["mine=runs/one/IVIF/best", "ReFusion.pth"]).named
    {'mine': 'runs/one/IVIF/best', 'ReFusion.pth': 'ReFusion.pth'}
    """
    pairs = ((name, place) if place else (text, text) for text in named for name, _, place in [text.partition("=")])
    return PageOptions(dict(pairs), **others)


def app_of(arguments: Mapping[str, str]) -> Any:
    """Builds the app for Serve, from the words that follow it in ``serve run jobs.demo:app NAME=C …``.

    Args:
        arguments: modules to be offered besides, from their name to what ``--checkpoint`` takes. Relative paths are
            those of the folder from which it is called. ``max_megapixels`` is the limit of pixels instead.

    Raises:
        UserError: Gradio or Serve is not installed.
    """
    gradio()
    given = dict(arguments)
    megapixels = float(given.pop("max_megapixels", Reading().megapixels))
    named = {name: str(Path(place).resolve()) if Path(place).exists() else place for name, place in given.items()}
    return serve_app("refusion-demo", partial(web_app, PageOptions(named, megapixels=megapixels)))
