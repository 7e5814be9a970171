from __future__ import annotations

import pytest

from refusion.runtime.console import clock, console


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0, "0:00:00"), (59.6, "0:01:00"), (3725.4, "1:02:05"), (90000, "1 day, 1:00:00")],
)
def test_seconds_are_shown_as_a_clock(seconds: float | None, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_console_without_a_terminal_is_wide_enough_for_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    found = console()
    assert not found.is_terminal
    assert found.width == 120
    monkeypatch.setenv("COLUMNS", "90")
    assert console().width == 90
