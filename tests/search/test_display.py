from __future__ import annotations

import io
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from refusion.runtime.progress_board import Row
from refusion.search.display import Standing, View, live_table, result_table, shown_values
from refusion.search.objective.objective import Objective
from refusion.search.trials.records import TrialRecord

RATE = "schedule.rate.value"
OBJECTIVE = Objective.parse("SSIM,Qabf", ["IVIF"])


def rendered(what: RenderableType, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def row_of(text: str, number: int) -> list[str]:
    """Cells of the table's row that begins with this trial's number."""
    rows = [[cell.strip() for cell in line.strip("│┃ \n").split("│")] for line in text.splitlines()]
    return next(cells for cells in rows if cells[0] == str(number))


def trial(number: int, *scores: float, ended: str = "", **values: Any) -> TrialRecord:
    history = {epoch: {"SSIM": score, "Qabf": score / 2} for epoch, score in enumerate(scores, start=1)}
    return TrialRecord(number, values, ended, history)


def standing(*records: TrialRecord, running: tuple[int, ...] = (), **changes: Any) -> Standing:
    return replace(Standing(records, frozenset(running), {}, epochs=3, trials=5, seconds=60.0), **changes)


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that is as late as the list's only number says."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


class Watched:
    """A view on a log, of a sweep that stands as it is told to."""

    def __init__(self, now: list[float], *records: TrialRecord) -> None:
        self.now, self.standing = now, standing(*records)
        self.console = Console(file=io.StringIO(), width=200)
        self.view = View(self.console, lambda: self.standing, OBJECTIVE)

    def after(self, seconds: float, *records: TrialRecord) -> list[str]:
        """The lines that come when the sweep stands so, that much later."""
        self.now[0] += seconds
        self.standing = standing(*records)
        before = len(self.lines)
        self.view.refresh()
        return self.lines[before:]

    @property
    def lines(self) -> list[str]:
        return str(self.console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_values_are_shown_without_sections_and_switches() -> None:
    values = {RATE: 0.00123456, "schedule.inner_steps.0": 2, "_steps": "line", "outer.kind": "adam"}
    assert shown_values(values) == "rate.value 0.00123, inner_steps.0 2, outer.kind adam"
    assert shown_values({}) == "the base settings"


def test_a_line_says_how_the_sweep_stands() -> None:
    records = (trial(0, 0.1, 0.2, 0.3, ended="finished"), trial(1, 0.1, ended="stopped"), trial(2, 0.1, 0.2))
    now = standing(*records, running=(2,))
    # 6 epochs in a minute; an ended trial took 2 on average, so 1 is left of trial 2 and 2 × 2 are to come.
    assert now.line(0) == "2/5 trials ended, 1 running | 6 epochs | 6.0 epochs/min | 0:01:00 gone | about 0:00:50 left"


def test_epochs_of_earlier_parts_do_not_count_as_speed() -> None:
    records = (trial(0, 0.1, 0.2, 0.3, ended="finished"), trial(1, 0.1, 0.2, 0.3))
    now = standing(*records, running=(1,), trials=2)
    assert "| 6 epochs | 2.0 epochs/min |" in now.line(4)
    assert now.seconds_left(4) == 30.0


@pytest.mark.parametrize(
    ("records", "before"), [((), 0), ((trial(0, 0.1),), 0), ((trial(0, 0.1, ended="stopped"),), 1)]
)
def test_the_time_left_is_not_guessed_from_nothing(records: tuple[TrialRecord, ...], before: int) -> None:
    now = standing(*records)
    assert now.seconds_left(before) is None
    assert "left" not in now.line(before)


def test_the_live_table_shows_who_runs_first_and_then_the_best() -> None:
    records = (
        trial(0, 0.1, 0.2, 0.3, ended="finished"),
        trial(1, 0.4, 0.5, 0.6, ended="finished", **{RATE: 1e-3}),
        trial(2, 0.2, ended="failed: [Errno 12] no [/memory]", **{"images.crop": "[bold]"}),
        trial(3, 0.3, **{RATE: 2e-3}),
        trial(4, **{RATE: 3e-3}),
    )
    rows = {3: Row("3", phase="IVIF meta 5/12")}
    text = rendered(live_table(standing(*records, running=(3, 4), rows=rows), OBJECTIVE, 0))
    assert "score: share of the comparisons in SSIM, Qabf that a trial wins against" in " ".join(text.split())
    numbers = [cells[0] for line in text.splitlines() if (cells := line.strip("│┃ ").split(" "))[0].isdigit()]
    assert numbers == ["3", "4", "1", "2", "0"]
    assert row_of(text, 3)[1:] == ["1/3", "IVIF meta 5/12", "0.67", "SSIM 0.300  Qabf 0.150", "rate.value 0.002"]
    assert row_of(text, 4)[1:] == ["0/3", "running", "", "", "rate.value 0.003"]
    assert row_of(text, 1)[1:4] == ["3/3", "finished", "1.00"]
    # What looks like markup is shown as it is.
    assert row_of(text, 2)[2] == "failed: [Errno 12] no [/memory]"
    assert row_of(text, 2)[5] == "crop [bold]"
    assert row_of(text, 0)[5] == "the base settings"
    assert "3/5 trials ended, 2 running" in text


def test_a_trial_that_neither_runs_nor_ended_waits() -> None:
    assert row_of(rendered(live_table(standing(trial(1, 0.5)), OBJECTIVE, 0)), 1)[2] == "waiting"


def test_the_live_table_stays_short() -> None:
    records = [trial(number, number / 100, ended="stopped") for number in range(60)]
    text = rendered(live_table(standing(*records, trials=60), OBJECTIVE, 0))
    shown = [number for number in range(60) if any(line.startswith(f"│ {number} ") for line in text.splitlines())]
    assert shown == list(range(40, 60))


def test_a_log_tells_every_beginning_epoch_and_end_once(clocked: list[float]) -> None:
    watched = Watched(clocked)
    with watched.view:
        assert watched.after(1, trial(0), trial(1, 0.5, **{RATE: 1e-3})) == [
            "trial 0: the base settings",
            "trial 1: rate.value 0.001",
            "trial 1: epoch 1/3 | SSIM 0.500  Qabf 0.250",
        ]
        assert watched.after(1, trial(0), trial(1, 0.5, **{RATE: 1e-3})) == []
        assert watched.after(1, trial(0, 0.3), trial(1, 0.5, 0.6, ended="stopped")) == [
            "trial 0: epoch 1/3 | SSIM 0.300  Qabf 0.150",
            "trial 1: epoch 2/3 | SSIM 0.600  Qabf 0.300",
            "trial 1: stopped after 2 epochs",
        ]


def test_an_epoch_that_was_not_measured_has_no_scores(clocked: list[float]) -> None:
    watched = Watched(clocked, trial(1))
    with watched.view:
        assert watched.after(1, TrialRecord(1, {}, history={1: {"loss/fusion": 0.5}})) == ["trial 1: epoch 1/3"]


def test_what_earlier_parts_told_is_not_told_again(clocked: list[float]) -> None:
    before = (trial(0, 0.1, 0.2, 0.3, ended="finished"), trial(1, 0.1))
    watched = Watched(clocked, *before)
    with watched.view:
        assert watched.after(1, *before) == []
        assert watched.after(1, before[0], trial(1, 0.1, 0.2)) == ["trial 1: epoch 2/3 | SSIM 0.200  Qabf 0.100"]


def test_a_log_is_renewed_twice_a_second_at_most(clocked: list[float]) -> None:
    watched = Watched(clocked)
    with watched.view:
        assert watched.after(1, trial(0)) == ["trial 0: the base settings"]
        assert watched.after(0.2, trial(0, 0.3)) == []
        assert watched.after(0.4, trial(0, 0.3)) == ["trial 0: epoch 1/3 | SSIM 0.300  Qabf 0.150"]


def test_the_last_news_are_told_however_soon_the_end_comes(clocked: list[float]) -> None:
    watched = Watched(clocked)
    with watched.view:
        watched.after(1, trial(0, 0.3))
        assert watched.after(0.1, trial(0, 0.3, 0.4, 0.5, ended="finished")) == []
    assert watched.lines[-2:] == [
        "trial 0: epoch 3/3 | SSIM 0.500  Qabf 0.250",
        "trial 0: finished after 3 epochs",
    ]


def test_a_log_gets_a_sign_of_life_every_minute(clocked: list[float]) -> None:
    watched = Watched(clocked)
    with watched.view:
        watched.after(1, trial(0))
        quiet = list(itertools.chain.from_iterable(watched.after(10, trial(0)) for _ in range(12)))
    assert len(quiet) == 2
    assert all(line.startswith("0/5 trials ended, 0 running | 0 epochs") for line in quiet)


def test_a_line_of_somebody_else_is_printed_as_it_is(clocked: list[float]) -> None:
    watched = Watched(clocked)
    with watched.view:
        watched.view.say("waiting for [resources]: " + "x" * 300)
    assert watched.lines == ["waiting for [resources]: " + "x" * 300]


def test_a_terminal_shows_the_table_as_it_stands_at_the_end(clocked: list[float]) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    now = [standing(trial(0, 0.3))]
    with View(console, lambda: now[0], OBJECTIVE) as view:
        clocked[0] += 1
        view.refresh()
        now[0] = standing(trial(0, 0.3, 0.4, 0.5, ended="finished"))
    shown = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert "1/3" in shown
    assert "SSIM 0.500" in shown.rpartition("1/3")[2]


def test_the_result_table_is_ordered_by_epochs_and_score() -> None:
    records = [
        trial(0, 0.1, 0.2, 0.3, ended="finished"),
        trial(1, 0.8, ended="stopped"),
        trial(2, 0.4, 0.5, 0.6, ended="finished", **{RATE: 1e-3}),
        trial(3, 0.9, ended="diverged: lost its numbers"),
        trial(4, ended="failed: at once"),
        trial(5, 0.2, math.nan),
    ]
    text = rendered(result_table(records, OBJECTIVE, 2))
    rows = [
        cells for line in text.splitlines() if (cells := [c.strip() for c in line.strip("│").split("│")])[0].isdigit()
    ]
    assert [cells[0] for cells in rows] == ["2", "0", "5", "3", "1"]
    assert rows[0] == ["2", "finished", "3", "1.00", "0.6000", "0.3000", "rate.value 0.001"]
    assert rows[1] == ["0", "finished", "3", "2.00", "0.3000", "0.1500", "the base settings"]
    # The ranks at epoch 1 are among all five that came so far.
    assert rows[3][1:4] == ["diverged", "1", "1.00"]
    assert rows[2][1:3] == ["open", "2"]
    assert "convention 'authors'" in text


def test_the_default_settings_stand_below_the_best_ones() -> None:
    records = [trial(number, number / 100, ended="finished") for number in range(20)]
    text = rendered(result_table(records, OBJECTIVE, 19, top=3))
    numbers = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert numbers == ["19", "18", "17", "0"]


def test_a_trial_that_was_never_measured_stands_in_the_table_too() -> None:
    records = [
        TrialRecord(1, {}, "stopped", {1: {"loss/fusion": 0.5}}),
        TrialRecord(2, {}, "finished", {1: {"loss/fusion": 0.5}, 2: {"SSIM": 0.5}}),
    ]
    text = rendered(result_table(records, OBJECTIVE, 2))
    assert row_of(text, 1)[3:6] == ["1.50", "–", "–"]
    assert row_of(text, 2)[4:6] == ["0.5000", "–"]


def test_of_several_tasks_the_means_are_shown() -> None:
    tasks = ["IVIF", "MIF", "MFIF", "MEIF"]
    numbers = {f"{task}/SSIM": 0.1 * place for place, task in enumerate(tasks)}
    record = TrialRecord(1, {}, "finished", {1: numbers})
    text = rendered(result_table([record], Objective.parse("SSIM,Qabf", tasks), 1))
    assert "means of 4 tasks" in " ".join(text.split())
    assert row_of(text, 1)[4:6] == ["0.1500", "–"]
