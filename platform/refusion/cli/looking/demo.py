"""Try a module out in the browser: drop two pictures, see them fused, weighed, scored and compared.

python jobs/demo.py                                                      # at http://127.0.0.1:7860
python jobs/demo.py --checkpoint authors=ReFusion_IVIF.pth --port 8080   # offers this module too
serve run jobs.demo:app                                                  # as an app of Ray Serve, at port 8000
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from refusion.cli.early import a_command_begins
from refusion.cli.options import Parser, more_than_zero
from refusion.cli.trust import add_trust_options, trusted_code
from refusion.config.ranges import DEFAULT_MEGAPIXELS

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def demo(arguments: Sequence[str], description: str) -> int:
    """Serve the demo until it is interrupted; returns the exit status.

    Raises:
        UserError: Gradio is not installed, or the address cannot be used.
    """
    parser = Parser(description)
    parser.add_argument("--host", default=_LOOPBACK[0], help="address to listen at [%(default)s: this machine alone]")
    parser.add_argument("--port", type=_port, default=7860, metavar="N", help="port to listen at [%(default)s]")
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="[NAME=]C",
        help="offer this module too, as fuse.py takes it; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--max-megapixels", type=more_than_zero, default=DEFAULT_MEGAPIXELS, metavar="N",
        help="pixels that a picture may have, in millions [%(default)g]",
    )  # fmt: skip
    add_trust_options(parser)
    options = parser.parse_args(list(arguments))
    from refusion.demo.serving import options_of, run_here

    here = options.host in _LOOPBACK
    if not here:
        print(
            f"--host {options.host}: whoever reaches it can use the demo; only the modules that it offers can be chosen"
        )
    page = options_of(
        options.checkpoint, any_path=here, megapixels=options.max_megapixels, trusted=trusted_code(options)
    )
    run_here(page, options.host, options.port)
    return 0


def app(arguments: Mapping[str, str]) -> Any:
    """Builds the demo as an app of Ray Serve; the words behind ``jobs.demo:app`` name further modules, ``NAME=C``.

    Raises:
        UserError: Gradio or Serve is not installed.
    """
    a_command_begins()
    from refusion.demo.serving import app_of

    return app_of(arguments)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return value


_port.__name__ = "port"
