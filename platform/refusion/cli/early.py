"""Ctrl-C before a command begins, which takes a while to import: programs import this module before all others.

From its import on Ctrl-C ends the process with one word and status 130; from `refusion.cli.options.run_command` on it
is an exception as ever.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn


def _leave(_signal: int, _frame: Any) -> None:
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    # No exception: a module that is half imported turns one into an error of its own.
    os._exit(130)


def a_command_begins() -> None:
    """Makes Ctrl-C an exception again, where it was made to end this process."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> NoReturn:
    """Run the console command ``refusion``."""
    from refusion.cli.main import main as command

    command()


signal.signal(signal.SIGINT, _leave)
