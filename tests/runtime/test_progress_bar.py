from __future__ import annotations

import io

from rich.console import Console

from refusion.runtime.progress_bar import showing


def shown(terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    with showing("scoring", console) as tell:
        for done in range(1, 4):
            tell(done, 14)
    return text.getvalue()


def test_a_terminal_shows_what_is_done_of_how_much() -> None:
    assert "scoring" in shown(True)
    assert "3/14" in shown(True)


def test_a_log_stays_empty() -> None:
    assert shown(False) == ""
