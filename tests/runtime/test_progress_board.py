from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from refusion.runtime import progress_board
from refusion.runtime.progress_board import ProgressBoard, Row


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in its only element."""
    now = [100.0]
    monkeypatch.setattr(progress_board.time, "monotonic", lambda: now[0])
    return now


def test_tasks_wait_until_something_is_said_of_them() -> None:
    state = ProgressBoard()
    state.update("IVIF", epochs=5)
    assert state.snapshot() == [Row("IVIF", state="waiting", epochs=5)]


def test_rows_stand_in_the_order_in_which_tasks_appeared_and_keep_what_was_said() -> None:
    state = ProgressBoard()
    state.update("MIF", epochs=5)
    state.update("IVIF", state="training", epoch=2)
    state.update("MIF", state="done")
    assert [(row.task, row.state) for row in state.snapshot()] == [("MIF", "done"), ("IVIF", "training")]
    assert state.snapshot()[0].epochs == 5


def test_the_time_left_follows_from_the_speed_so_far(clock: list[float]) -> None:
    state = ProgressBoard()
    state.update("IVIF", done=0.2)
    assert state.snapshot()[0].seconds_left is None
    clock[0] += 30
    state.update("IVIF", done=0.5)
    # 0.3 of the work took 30 s, so the remaining half takes 50 s.
    assert state.snapshot()[0].seconds_left == pytest.approx(50)
    clock[0] += 50
    state.update("IVIF", done=1.0)
    assert state.snapshot()[0].seconds_left == pytest.approx(0)


def test_a_restart_from_a_checkpoint_is_measured_anew(clock: list[float]) -> None:
    state = ProgressBoard()
    state.update("IVIF", done=0.5)
    clock[0] += 10
    state.update("IVIF", done=0.6)
    clock[0] += 500
    state.update("IVIF", done=0.4)
    assert state.snapshot()[0].seconds_left is None
    clock[0] += 10
    state.update("IVIF", done=0.5)
    assert state.snapshot()[0].seconds_left == pytest.approx(50)


def test_each_task_has_its_own_clock(clock: list[float]) -> None:
    state = ProgressBoard()
    state.update("IVIF", done=0.0)
    clock[0] += 10
    state.update("MIF", done=0.0)
    clock[0] += 10
    state.update("IVIF", done=0.5)
    state.update("MIF", done=0.5)
    assert [row.seconds_left for row in state.snapshot()] == pytest.approx([20, 10])


def test_other_news_leave_the_estimate_alone(clock: list[float]) -> None:
    state = ProgressBoard()
    state.update("IVIF", done=0.0)
    clock[0] += 10
    state.update("IVIF", done=0.5)
    clock[0] += 1000
    state.update("IVIF", scores={"EN": 7.0})
    assert state.snapshot()[0].seconds_left == pytest.approx(10)


def test_every_note_stays_and_none_is_there_twice() -> None:
    state = ProgressBoard()
    for text in ("no compiler", "no bfloat16", "no compiler"):
        state.note("IVIF", text)
    (row,) = state.snapshot()
    assert row.notes == ["no compiler", "no bfloat16"]


@pytest.mark.parametrize("gone", [ray.exceptions.RaySystemError("not started"), ray.exceptions.RayActorError()])
def test_a_ray_that_is_gone_stops_nobody_who_tells(gone: Exception) -> None:
    """As after Ctrl-C, when the job has left Ray and its threads still end."""
    asked: list[str] = []

    def update(task: str, **_: object) -> None:
        asked.append(task)
        raise gone

    progress_board.tell(SimpleNamespace(update=SimpleNamespace(remote=update)), "MIF", state="failed")
    assert asked == ["MIF"]
