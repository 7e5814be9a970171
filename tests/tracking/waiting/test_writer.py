from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from refusion.tracking.waiting import writer as module
from refusion.tracking.waiting.spool import Entry, Lane, Spool
from refusion.tracking.waiting.writer import Writer


class Store:
    """Store that takes writes while it is up and always refuses some."""

    def __init__(self) -> None:
        self.up = True
        self.got: list[str] = []
        self.attempted: list[bool] = []
        self.poison: dict[str, BaseException] = {}

    def perform(self, _store: Any, entry: Entry, *, attempted: bool) -> str:
        self.attempted.append(attempted)
        if entry.what in self.poison:
            raise self.poison[entry.what]
        if not self.up:
            raise MlflowException("database is locked", error_code=14)
        self.got.append(entry.what)
        return entry.what.upper()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(module, "perform", made.perform)
    return made


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "waiting", durable=False)


@pytest.fixture
def send(spool: Spool) -> Callable[..., Path]:
    def add(what: str, lane: Lane = "records") -> Path:
        return spool.add(lane, "IVIF", what, "tags", {}, {"content": b"x"} if lane == "pictures" else None)

    return add


def _names(spool: Spool, lane: Lane) -> list[str]:
    return [entry.what for entry in spool.entries(lane)]


def test_writes_and_gives_the_result(store: Store, spool: Spool, send: Callable[..., Path]) -> None:
    writer = Writer("sqlite://", spool)
    added = send("a")
    assert writer.flush()
    assert writer.result(added) == "A"
    assert (store.got, spool.waiting, writer.written, writer.trouble) == (["a"], 0, 1, "")


def test_outage_is_made_up_in_order_with_one_warning(store: Store, spool: Spool, send: Callable[..., Path]) -> None:
    said: list[str] = []
    writer = Writer("sqlite://", spool, said.append)
    store.up = False
    for name in "bcd":
        send(name)
        assert not writer.flush()
    assert _names(spool, "records") == list("bcd")
    assert len(said) == 1 and "database is locked" in said[0] and "database is locked" in writer.trouble
    store.up = True
    send("e")
    assert writer.flush()
    assert store.got == list("bcde") and writer.trouble == ""
    store.up = False
    send("f")
    writer.flush()
    assert len(said) == 2


def test_a_later_writer_goes_on_and_knows_what_was_attempted(
    store: Store, spool: Spool, send: Callable[..., Path]
) -> None:
    store.up = False
    send("a")
    send("b")
    Writer("sqlite://", spool).flush()
    store.up = True
    store.attempted.clear()
    assert Writer("sqlite://", Spool(spool.folder)).flush()
    assert (store.got, store.attempted) == (["a", "b"], [True, False])


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), PermissionError("artifacts"), OSError("disk full"), RuntimeError("SDK's own")]
)
def test_every_kind_of_trouble_waits(store: Store, spool: Spool, send: Callable[..., Path], error: Exception) -> None:
    store.poison["a"] = error
    writer = Writer("sqlite://", spool)
    send("a")
    assert not writer.flush()
    store.poison.clear()
    assert writer.flush()
    assert store.got == ["a"]


@pytest.mark.parametrize(
    "error", [MlflowException.invalid_parameter_value("bad name"), FileNotFoundError("gone"), TypeError("ours")]
)
def test_what_can_never_be_written_does_not_hold_up_the_rest(
    store: Store, spool: Spool, send: Callable[..., Path], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store.poison["the first"] = error
    send("the first")
    send("b")
    with caplog.at_level(logging.WARNING):
        assert Writer("sqlite://", spool).flush()
    assert store.got == ["b"] and [line.partition(":")[0] for line in spool.left_out] == ["the first"]
    assert "the first cannot be written" in caplog.text


def test_a_picture_that_keeps_failing_goes_last(store: Store, spool: Spool, send: Callable[..., Path]) -> None:
    store.poison = {name: MlflowException("413 too large") for name in "abc"}
    writer = Writer("sqlite://", spool)
    for name in "abcdefgh":
        send(name, "pictures")
    send("numbers")
    for _ in range(6):
        writer.flush()
    assert store.got == ["numbers", *"defgh"]
    assert _names(spool, "pictures") == list("abc")


def test_models_and_pictures_wait_for_records(store: Store, spool: Spool, send: Callable[..., Path]) -> None:
    store.poison["run"] = ConnectionError("away")
    writer = Writer("sqlite://", spool)
    send("picture", "pictures")
    send("model", "models")
    send("run")
    writer.flush()
    assert store.got == []
    store.poison.clear()
    writer.flush()
    assert store.got == ["run", "model", "picture"]


def test_slow_failure_is_not_tried_again_at_once(
    store: Store, spool: Spool, send: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    tries = []

    def hanging(*_: Any, **__: Any) -> None:
        tries.append(clock[0])
        clock[0] += 30
        raise ConnectionError("timed out")

    monkeypatch.setattr(module, "perform", hanging)
    writer = Writer("sqlite://", spool)
    send("a")
    writer.flush()
    writer.flush()
    assert tries == [100.0]
    writer.flush(at_once=True)
    assert len(tries) == 2
    clock[0] += 301
    writer.flush()
    assert len(tries) == 3


def test_what_ends_the_process_is_not_swallowed(store: Store, spool: Spool, send: Callable[..., Path]) -> None:
    store.poison["a"] = KeyboardInterrupt()
    send("a")
    with pytest.raises(KeyboardInterrupt):
        Writer("sqlite://", spool).flush()
    assert _names(spool, "records") == ["a"]
