from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from refusion.runtime import progress_bar as module
from refusion.runtime.progress_bar import progress_bar, progress_bars


def shown(terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    with progress_bar("scoring", console) as show:
        for done in range(1, 4):
            show(done, 14)
    return text.getvalue()


def test_a_terminal_shows_what_is_done_of_how_much() -> None:
    assert "scoring" in shown(True)
    assert "3/14" in shown(True)


def test_a_bar_is_there_before_anything_is_done() -> None:
    text = io.StringIO()
    with progress_bar("scoring", Console(file=text, force_terminal=True, width=120)):
        pass
    assert "scoring" in text.getvalue()


def test_each_label_has_a_bar_of_its_own() -> None:
    text = io.StringIO()
    with progress_bars(Console(file=text, force_terminal=True, width=120)) as show:
        show("IVIF/train", 3, 5)
        show("IVIF/val", 1, 2)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    assert re.search(r"IVIF/train \S+ 3/5 ", plain)
    assert re.search(r"IVIF/val +\S+ 1/2 ", plain)


def test_a_log_stays_empty_but_for_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(False) == ""
    clock = iter([0.0, 5.0, 20.0, 31.0, 40.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert shown(False) == "scoring: 2 of 14\n"
