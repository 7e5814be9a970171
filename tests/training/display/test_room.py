from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from refusion.config.settings import ImagesSettings, Settings
from refusion.runtime.cluster import Cluster, Node
from refusion.runtime.progress_board import Row
from refusion.training.display.room import WAITS, WithRoom

ONE = Cluster((Node(1, 0),))
RANGE = Settings(workers="2..4", images=ImagesSettings(batch=4))


@dataclass
class Waiting:
    """A cluster, a clock and a row, as the test says."""

    settings: Settings = RANGE
    cluster: Cluster = ONE
    busy: bool = False
    seconds: float = 0.0
    row: Row = field(default_factory=lambda: Row("IVIF", "starting", message=WAITS))

    def __post_init__(self) -> None:
        self.rows = WithRoom(
            lambda: [self.row], self.settings, 1, lambda: (self.cluster, self.busy), lambda: self.seconds
        )

    def said(self, seconds: float) -> str:
        self.seconds = seconds
        (row,) = self.rows()
        return row.message


def test_too_little_room_for_the_fewest_workers_is_said_every_20_s() -> None:
    waiting = Waiting()
    said = [waiting.said(at) for at in (100, 119, 120, 130, 139, 140, 161)]
    there = "for room for 2 workers of 1 CPU; the cluster's 1 machine has room for 1"
    assert said == [
        WAITS,
        WAITS,
        *[f"has waited 20 s {there}"] * 3,
        f"has waited 40 s {there}",
        f"has waited 61 s {there}",
    ]


def test_a_task_that_lost_its_workers_says_why_and_then_what_it_waits_for() -> None:
    waiting = Waiting(row=Row("IVIF", "restarting", message="worker 1 is gone"))
    assert [waiting.said(at) for at in (0, 10)] == ["worker 1 is gone"] * 2
    assert waiting.said(25).startswith("has waited 25 s for room for 2 workers")


def test_room_that_others_hold_is_told_apart() -> None:
    waiting = Waiting(Settings(threads=2), Cluster((Node(4, 0), Node(4, 0))), busy=True)
    waiting.said(0)
    assert waiting.said(20) == "has waited 20 s for room for 1 worker of 1 CPU; others hold them"


def test_gpus_count() -> None:
    waiting = Waiting(Settings(gpu=True), Cluster((Node(8, 0), Node(8, 0))))
    waiting.said(0)
    assert waiting.said(20).endswith(
        "for room for 1 worker of 1 CPU and 1 GPU; the cluster's 2 machines have room for 0"
    )


@pytest.mark.parametrize("state", ["training", "starting"])
def test_what_goes_on_is_left_alone_and_a_later_wait_is_measured_anew(state: str) -> None:
    waiting = Waiting()
    waiting.said(0)
    waiting.said(30)
    waiting.row = Row("IVIF", state, message="measures how long steps take")
    assert waiting.said(35) == "measures how long steps take"
    waiting.row = Row("IVIF", "restarting", message="lost")
    assert waiting.said(40) == "lost"
    assert waiting.said(59) == "lost"
    assert waiting.said(60).startswith("has waited 20 s")


def test_processes_that_take_long_to_start_where_there_is_room_are_no_lack_of_it() -> None:
    waiting = Waiting(cluster=Cluster((Node(2, 0),)))
    assert [waiting.said(at) for at in (0, 30, 60)] == [WAITS] * 3
