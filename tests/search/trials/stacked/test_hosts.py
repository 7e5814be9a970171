from __future__ import annotations

from typing import Any

import pytest

from refusion.search.trials.stacked.hosts import Place, TrialHosts

CPU = Place("node", "")
GPU = Place("node", "0")


class Started:
    """Hosts by number, those that were ended, and the slots that were freed in them."""

    def __init__(self, together: int = 2) -> None:
        self.places: list[Place] = []
        self.ended: list[int] = []
        self.freed: list[tuple[int, str]] = []
        self.hosts = TrialHosts(self._start, lambda *what: self.freed.append(what), self.ended.append, together)

    def _start(self, place: Place) -> int:
        self.places.append(place)
        return len(self.places) - 1

    def enter(self, member: str, place: Place = CPU) -> Any:
        return self.hosts.enter(member, place)[1]


@pytest.fixture
def started() -> Started:
    return Started()


def test_a_node_without_gpus_gets_as_many_hosts_as_its_trials_need(started: Started) -> None:
    assert [started.enter(member) for member in "abcde"] == [0, 0, 1, 1, 2]
    assert started.enter("f", Place("other", "")) == 3


def test_a_gpu_has_one_host(started: Started) -> None:
    """Also where a process was killed and another has its share: its slot is freed by the host itself."""
    assert [started.enter(member, GPU) for member in "abc"] == [0, 0, 0]
    assert started.enter("d", Place("node", "1")) == 1


def test_a_process_stays_in_its_host_from_trial_to_trial(started: Started) -> None:
    assert started.enter("a") == started.enter("a") == 0
    assert (started.ended, started.freed) == ([], [])
    assert [started.enter("b"), started.enter("c"), started.enter("a")] == [0, 1, 0]


def test_a_host_ends_with_its_last_process(started: Started) -> None:
    for member in "ab":
        started.enter(member)
    started.hosts.leave("a")
    assert (started.ended, started.freed) == ([], [(0, "a")])
    assert started.enter("c") == 0, "whose place is free"
    for member in "bc":
        started.hosts.leave(member)
    assert started.ended == [0]
    assert started.enter("d") == 1
    started.hosts.leave("nobody")
    assert started.ended == [0]


def test_nobody_enters_a_host_that_was_lost(started: Started) -> None:
    for member in "ab":
        started.enter(member, GPU)
    number, _ = started.hosts.enter("a", GPU)
    started.hosts.lost(number)
    started.hosts.lost(number)
    assert [started.enter(member, GPU) for member in "ab"] == [1, 1]
    assert started.ended == [0], "it may be that only the way to it was lost"
