from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from refusion.tracking.waiting import background as module
from refusion.tracking.waiting import writer
from refusion.tracking.waiting.background import BackgroundWriter
from refusion.tracking.waiting.spool import Entry, Spool
from refusion.tracking.waiting.writer import Writer


class Slow:
    """Store whose answers take as long as the test says, or that does not answer."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.up = True
        self.got: list[str] = []

    def perform(self, _store: Any, entry: Entry, **_: Any) -> None:
        time.sleep(self.seconds)
        if not self.up:
            raise ConnectionError("refused")
        self.got.append(entry.what)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(writer, "perform", made.perform)
    return made


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, durable=False)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def background(store: Slow, spool: Spool, said: list[str]) -> Iterator[BackgroundWriter]:
    made = BackgroundWriter(Writer("http://127.0.0.1:9", spool, said.append))
    made.start()
    yield made
    store.up, store.seconds = True, 0.0
    made.stop()


@pytest.fixture
def add(spool: Spool) -> Callable[[str], Path]:
    return lambda what: spool.add("records", "IVIF", what, "tags", {})


def test_writes_in_order_and_settles(
    background: BackgroundWriter, store: Slow, add: Callable[[str], Path], said: list[str]
) -> None:
    for what in "abc":
        add(what)
    assert background.settle(said.append)
    assert store.got == list("abc") and background.waiting == 0 and said == []


def test_a_slow_store_ends_the_wait_and_says_how_far_it_is(
    background: BackgroundWriter, store: Slow, add: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROGRESS", 0.2)
    monkeypatch.setattr(module, "SERVER_SECONDS", 1.0)
    store.seconds = 0.4
    for number in range(50):
        add(str(number))
    lines: list[str] = []
    assert not background.settle(lines.append)
    assert lines and all("writes still wait" in line for line in lines)
    assert 0 < background.waiting < 50
    # Later calls do not wait as long again.
    before = background.waiting
    monkeypatch.setattr(module, "SERVER_SECONDS", 2.0)
    assert not background.settle(lines.append)
    assert before - background.waiting < 10


def test_a_store_that_is_gone_is_given_up_and_written_to_when_it_is_back(
    background: BackgroundWriter,
    store: Slow,
    add: Callable[[str], Path],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_GONE_SECONDS", 0.5)
    store.up = False
    for what in "abc":
        add(what)
    assert not background.settle(said.append, 1000.0)
    assert background.waiting == 3 and background.trouble
    assert len([line for line in said if "could not take a" in line]) == 1
    store.up = True
    deadline = time.monotonic() + 60
    while background.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    assert store.got == list("abc")


def test_one_that_never_began_is_not_waited_for(spool: Spool, store: Slow, add: Callable[[str], Path]) -> None:
    add("a")
    idle = BackgroundWriter(Writer("http://127.0.0.1:9", spool))
    assert not idle.settle(lambda _: None, 1000.0)
    idle.stop()
    assert store.got == []
