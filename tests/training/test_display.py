from __future__ import annotations

import math
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from refusion.metrics import METRICS
from refusion.runtime.progress_board import Row
from refusion.training.display import (
    PlainLines,
    Result,
    live_table,
    plain_line,
    result_rows,
    result_table,
    watch,
)


def rendered(what: RenderableType) -> str:
    console = Console(file=StringIO(), width=140)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def training(**changes: object) -> Row:
    row = Row("IVIF", state="training", epoch=2, epochs=5, phase="meta", step=10, steps=600, seconds_left=3725.4)
    row.numbers = {
        "loss/inner": 0.12345,
        "loss/outer": 0.5,
        "rate": 1e-4,
        "inner_steps": 2.0,
        "images_per_second": 8.26,
    }
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def test_a_plain_line_says_how_a_training_goes() -> None:
    assert plain_line(training()) == (
        "IVIF: epoch 2/5 | meta 10/600 | L_f inner 0.1235, L_r outer 0.5000 | rate 1.0e-04 | K 2 | 8.3 images/s "
        "| 1:02:05 left"
    )


def test_a_plain_line_says_nothing_that_is_not_known() -> None:
    assert plain_line(training(numbers={}, seconds_left=None)) == "IVIF: epoch 2/5 | meta 10/600"
    assert plain_line(Row("MIF")) == "MIF: waiting"


def test_a_plain_line_ends_with_scores_and_message() -> None:
    row = Row("MIF", state="failed", scores={"Qabf": 0.5, "EN": 7.0, "SCD": 1.0}, message="worker 0: killed")
    assert plain_line(row) == "MIF: failed | EN 7.000  Qabf 0.500 | worker 0: killed"


def test_the_live_table_has_a_row_per_task() -> None:
    text = rendered(live_table([training(scores={"EN": 7.123}), Row("MIF", epochs=5)]))
    first = next(line for line in text.splitlines() if "IVIF" in line)
    for shown in ("2/5", "meta 10/600", "L_f inner 0.1235", "1.0e-04", "8.3", "1:02:05", "EN 7.123"):
        assert shown in first
    assert "L_r outer 0.5000" in text
    second = next(line for line in text.splitlines() if "MIF" in line and "IVIF" not in line)
    assert "0/5" in second
    assert "waiting" in second


def test_a_message_takes_the_place_of_the_losses() -> None:
    text = rendered(live_table([training(state="failed", message="out of memory")]))
    assert "out of memory" in text
    assert "L_f inner" not in text


class Log:
    """A log with a clock of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.time = 0.0
        self.plain = PlainLines(self.lines.append, now=lambda: self.time)


def test_a_log_gets_a_line_at_every_change_and_no_other() -> None:
    log = Log()
    for row in (Row("IVIF"), Row("IVIF"), training(step=1), training(step=2), training(epoch=3), training(epoch=3)):
        log.plain.show([row])
    assert [line.split(" | ")[0] for line in log.lines] == ["IVIF: waiting", "IVIF: epoch 2/5", "IVIF: epoch 3/5"]


def test_a_note_is_a_line_of_its_own_once() -> None:
    log = Log()
    for step in range(3):
        log.plain.show([training(step=step, notes=["no compiler"]), Row("MIF", notes=["no compiler"])])
    assert [line for line in log.lines if "compiler" in line] == ["IVIF: no compiler", "MIF: no compiler"]


def test_notes_stand_below_the_live_table() -> None:
    rows = [training(notes=["no compiler"]), Row("MIF")]
    shown = rendered(live_table(rows)).splitlines()
    assert [line.strip() for line in shown if "compiler" in line] == ["IVIF: no compiler"]
    assert "compiler" not in rendered(live_table([training()]))


def test_new_scores_are_a_change() -> None:
    log = Log()
    log.plain.show([training()])
    log.plain.show([training(scores={"EN": 7.0})])
    assert log.lines[-1].endswith("EN 7.000")


def test_a_training_gives_a_sign_of_life_a_waiting_task_none() -> None:
    log = Log()
    for log.time in (0, 20, 31, 50, 62):
        log.plain.show([training(step=int(log.time)), Row("MIF")])
    assert sum("MIF" in line and "IVIF" not in line for line in log.lines) == 1
    assert [line.split(" | ")[1] for line in log.lines if "IVIF" in line] == [
        "meta 0/600",
        "meta 31/600",
        "meta 62/600",
    ]


def test_watching_ends_with_the_work_and_shows_its_end() -> None:
    console = Console(file=StringIO(), width=140)
    rows = iter([[Row("IVIF")], [training()], [Row("IVIF", state="done")]])
    going_on = iter([True, True, False])
    watch(console, lambda: next(rows), lambda: next(going_on), every=0)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert [line.split(" | ")[0] for line in lines] == ["IVIF: waiting", "IVIF: epoch 2/5", "IVIF: done"]


def test_square_brackets_in_a_message_are_shown_as_they_are() -> None:
    console = Console(file=StringIO(), width=140)
    watch(console, lambda: [Row("IVIF", state="failed", message="[Errno 28] disk [red]full")], lambda: False, every=0)
    assert "[Errno 28] disk [red]full" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def results() -> list[Result]:
    numbers = {name: 0.5 for name in METRICS} | {f"baseline/{name}": 0.25 for name in METRICS}
    return [Result("IVIF", "", 5, numbers | {"loss/inner": 1.0}), Result("MIF", "worker 0: killed", 5, {})]


def test_result_rows_are_ours_and_the_average_of_each_task(results: list[Result]) -> None:
    rows = result_rows(results)
    assert [row["task"] for row in rows] == ["IVIF", "IVIF", "MIF", "MIF"]
    assert [row["state"] for row in rows] == ["done", "", "worker 0: killed", ""]
    assert rows[0]["method"] == "trained" != rows[1]["method"]
    assert [rows[0][name] for name in METRICS] == [0.5] * len(METRICS)
    assert [rows[1][name] for name in METRICS] == [0.25] * len(METRICS)
    assert all(math.isnan(float(rows[2][name])) for name in METRICS)
    assert "loss/inner" not in rows[0]


def test_the_result_table_names_its_convention_and_every_metric(results: list[Result]) -> None:
    text = rendered(result_table(results))
    assert "convention 'authors'" in text
    assert all(name in text for name in METRICS)
    ours, base = (line for line in text.splitlines() if "IVIF" in line)
    assert ours.count("0.5000") == base.count("0.2500") == len(METRICS)
    missing = next(line for line in text.splitlines() if " MIF" in line)
    assert missing.count("–") == len(METRICS)
