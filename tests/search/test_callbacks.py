from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from refusion.search import callbacks as events_module
from refusion.search.callbacks import Events


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, set by the test."""
    now = [100.0]
    monkeypatch.setattr(events_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(events_module.ray, "available_resources", lambda: {"CPU": 1.0})
    return now


def turn(events: Events, clock: list[float], seconds: float) -> None:
    clock[0] += seconds
    events.on_step_end(1, [])


def make(running: set[int], said: list[str], **more: Any) -> Events:
    state: Any = SimpleNamespace(running=running)
    return Events(state, lambda: None, said.append, {"CPU": 2}, **more)


def test_says_what_room_is_missing_while_no_trial_runs(clock: list[float]) -> None:
    said: list[str] = []
    events = make(set(), said)
    for _ in range(5):
        turn(events, clock, 9)
    assert said == ["waiting for resources: a trial takes 2 CPU; free in the cluster: 1 CPU"]


def test_says_nothing_while_a_trial_trains(clock: list[float]) -> None:
    said: list[str] = []
    events = make({1}, said)
    for _ in range(9):
        turn(events, clock, 15)
    assert said == []


def test_says_which_trials_wait_for_their_workers_places(clock: list[float]) -> None:
    said: list[str] = []
    waiting = {1, 2, 3}
    events = make({1, 2}, said, waiting=lambda: set(waiting))
    turn(events, clock, 21)
    assert said == []
    waiting.discard(2)
    turn(events, clock, 21)
    assert said == ["trial 1 waits for its workers' resources; free in the cluster: 1 CPU, 0 GPU"]
    waiting.clear()
    turn(events, clock, 21)
    turn(events, clock, 21)
    assert len(said) == 1


def test_the_last_report_of_a_trial_is_on_record_as_that() -> None:
    told: list[tuple[Any, ...]] = []
    state: Any = SimpleNamespace(
        to_end=lambda *what: told.append(("to_end", *what)), reported=lambda *what: told.append(("reported", what[1]))
    )
    events = Events(state, lambda: None, lambda _: None, {})
    for epoch in (1, 2):
        events.on_trial_result(1, [], SimpleNamespace(config={"number": 7}), {"epoch": epoch, "done": epoch == 2})
    # Before the report, with which it is put on the disk.
    assert told == [("reported", 1), ("to_end", 7, 2), ("reported", 2)]
