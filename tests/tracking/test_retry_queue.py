from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from mlflow.exceptions import MlflowException

from refusion.tracking import retry_queue as module
from refusion.tracking.retry_queue import RetryQueue


class Store:
    """Store that takes writes while it is up and always refuses some."""

    def __init__(self) -> None:
        self.up = True
        self.got: list[str] = []
        self.poison: dict[str, Exception] = {}

    def write(self, name: str) -> Callable[[], str]:
        def attempt() -> str:
            if name in self.poison:
                raise self.poison[name]
            if not self.up:
                raise MlflowException("database is locked", error_code=14)
            self.got.append(name)
            return name.upper()

        return attempt


@pytest.fixture
def store() -> Store:
    return Store()


def test_writes_at_once_and_returns_the_result(store: Store) -> None:
    queue = RetryQueue(in_order=True)
    assert queue.send("a", store.write("a")) == "A"
    assert (store.got, queue.unsent, queue.waiting) == (["a"], 0, 0)


def test_outage_is_made_up_in_order_with_one_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    queue = RetryQueue(in_order=True)
    queue.send("a", store.write("a"))
    store.up = False
    assert [queue.send(name, store.write(name)) for name in "bcd"] == [None, None, None]
    assert (queue.unsent, queue.waiting, queue.lost) == (3, 3, 0)
    assert not queue.flush()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "database is locked" in caplog.text
    store.up = True
    assert queue.send("e", store.write("e")) == "E"
    assert (store.got, queue.unsent) == (list("abcde"), 0)
    store.up = False
    queue.send("f", store.write("f"))
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), PermissionError("artifacts"), OSError("disk full"), RuntimeError("SDK's own")]
)
def test_every_kind_of_trouble_waits(store: Store, error: Exception) -> None:
    queue = RetryQueue(in_order=True)
    store.poison["a"] = error
    queue.send("a", store.write("a"))
    assert queue.waiting == 1
    store.poison.clear()
    assert queue.flush()
    assert store.got == ["a"]


@pytest.mark.parametrize(
    "error", [MlflowException.invalid_parameter_value("bad name"), FileNotFoundError("gone"), TypeError("ours")]
)
def test_what_can_never_be_written_does_not_hold_up_the_rest(
    store: Store, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    queue = RetryQueue(in_order=True)
    store.poison["a"] = error
    queue.send("the first", store.write("a"))
    queue.send("b", store.write("b"))
    assert (store.got, queue.lost, queue.waiting) == (["b"], 1, 0)
    assert "the first cannot be written" in caplog.text


def test_out_of_order_a_write_that_keeps_failing_goes_last(store: Store) -> None:
    queue = RetryQueue(in_order=False)
    store.poison = {name: MlflowException("413 too large") for name in "abc"}
    for name in "abcdefgh":
        queue.send(name, store.write(name))
    for _ in range(6):
        queue.flush()
    assert sorted(store.got) == list("defgh")
    assert queue.waiting == 3


def test_pictures_are_dropped_oldest_first_and_counted(store: Store) -> None:
    queue = RetryQueue(in_order=True, max_bytes=10)
    store.up = False
    queue.send("metrics", store.write("metrics"))
    for name in ("p1", "p2", "p3"):
        queue.send(name, store.write(name), size=4)
    assert (queue.lost, queue.waiting, queue.unsent) == (1, 3, 4)
    store.up = True
    queue.flush()
    assert store.got == ["metrics", "p2", "p3"]
    assert queue.unsent == 1


def test_number_of_writes_is_bounded(store: Store) -> None:
    queue = RetryQueue(in_order=True, max_writes=3)
    store.up = False
    queue.send("picture", store.write("picture"), size=1)
    for name in "abcd":
        queue.send(name, store.write(name))
    store.up = True
    queue.flush()
    assert store.got == list("bcd")
    assert queue.lost == 2


def test_slow_failure_is_not_tried_again_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    tries = []

    def hanging() -> None:
        tries.append(clock[0])
        clock[0] += 30
        raise ConnectionError("timed out")

    queue = RetryQueue(in_order=True)
    queue.send("a", hanging)
    queue.send("b", store.write("b"))
    assert tries == [100.0]
    queue.flush(at_once=True)
    assert len(tries) == 2
    clock[0] += 301
    queue.flush()
    assert len(tries) == 3


def test_what_ends_the_process_is_not_swallowed() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RetryQueue(in_order=True).send("a", interrupted)
