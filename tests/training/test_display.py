from __future__ import annotations

import math
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from refusion.metrics import METRICS
from refusion.runtime.progress_board import Row
from refusion.training.display import (
    LEGEND,
    PlainLines,
    Result,
    ending,
    live_table,
    plain_line,
    result_rows,
    result_table,
    summary,
    watch,
)


def rendered(what: RenderableType, width: int = 140) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def training(**changes: object) -> Row:
    row = Row("IVIF", state="training", epoch=2, epochs=5, phase="meta", step=10, steps=600, seconds_left=3725.4)
    row.numbers = {
        "loss/inner": 0.12345,
        "loss/outer": 0.5,
        "rate": 1e-4,
        "inner_steps": 2.0,
        "beta": 0.4,
        "images_per_second": 8.26,
    }
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def test_a_plain_line_says_how_a_training_goes() -> None:
    assert plain_line(training()) == (
        "IVIF: epoch 2/5 | meta 10/600 | L_f 0.1235 L_r 0.5000 | β 0.40 | K 2 | rate 1.0e-04 | 8.3 images/s "
        "| 1:02:05 left"
    )
    fusion = training(phase="fusion", numbers={"loss/fusion": 0.25, "loss/inner": 0.5})
    assert plain_line(fusion) == "IVIF: epoch 2/5 | fusion 10/600 | L_f 0.2500 | 1:02:05 left"


def test_a_plain_line_says_nothing_that_is_not_known() -> None:
    assert plain_line(training(numbers={}, seconds_left=None)) == "IVIF: epoch 2/5 | meta 10/600"
    assert plain_line(Row("MIF")) == "MIF: waiting"


def test_scores_say_which_epoch_they_are_of() -> None:
    row = Row("MIF", state="done", scores={"Qabf": 0.5, "EN": 7.0}, scored=3, best_by="Qabf", best=(3, 0.5))
    assert plain_line(row) == "MIF: done | epoch 3: Qabf 0.500"
    row.best = (1, 0.625)
    assert plain_line(row) == "MIF: done | epoch 3: Qabf 0.500, best 0.625 (epoch 1)"
    row.scored = 0
    assert plain_line(row) == "MIF: done | epoch 0 (untrained): Qabf 0.500, best 0.625 (epoch 1)"
    row.message = "worker 0: killed"
    assert plain_line(row) == "MIF: done | worker 0: killed"


def test_a_plain_line_has_at_most_120_columns_and_keeps_what_matters() -> None:
    scored = {"scores": {"Qabf": 0.5}, "scored": 11, "best_by": "Qabf", "best": (2, 0.625)}
    line = plain_line(training(epoch=12, epochs=50, step=599, **scored))
    assert len(line) <= 120
    assert line.startswith("IVIF: epoch 12/50 | meta 599/600 | L_f 0.1235 L_r 0.5000 | ")
    assert line.endswith(" | 1:02:05 left | epoch 11: Qabf 0.500, best 0.625 (epoch 2)")
    assert len(plain_line(Row("MIF", state="failed", message="no " * 80))) == 120
    assert all(len(line) <= 120 for line in LEGEND)


def test_the_live_table_has_a_line_per_task() -> None:
    scored = {"scores": {"Qabf": 0.5}, "scored": 11, "best_by": "Qabf", "best": (2, 0.625)}
    lines = rendered(live_table([training(**scored), Row("MIF", epochs=5)]), width=120).splitlines()
    (first,) = (line for line in lines if line.strip().startswith("IVIF"))
    for shown in ("2/5", "meta 10/600", "L_f 0.1235", "L_r 0.5000", "1:02:05", "epoch 11: Qabf 0.500", "best 0.625"):
        assert shown in first
    (second,) = (line for line in lines if line.strip().startswith("MIF"))
    assert "0/5" in second
    assert "waiting" in second
    assert "β, the weight of its" in "".join(lines)
    narrow = rendered(live_table([training(**scored), Row("MIF", epochs=5)], 80), width=80).splitlines()
    (first,) = (line for line in narrow if line.strip().startswith("IVIF"))
    assert "1:02:05" in first and "epoch 11: Qabf 0.500" in first


def test_a_message_stands_below_the_table() -> None:
    text = rendered(live_table([training(state="failed", message="out of memory")]))
    assert "IVIF: out of memory" in text


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
    assert log.lines[1:3] == list(LEGEND)
    shown = [line for line in log.lines if line not in LEGEND]
    assert [line.split(" | ")[0] for line in shown] == ["IVIF: waiting", "IVIF: epoch 2/5", "IVIF: epoch 3/5"]


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
    for _ in range(2):
        log.plain.show([training(scores={"Qabf": 0.5}, scored=1, best_by="Qabf", best=(1, 0.5))])
    assert [line for line in log.lines if "Qabf" in line] == log.lines[-1:]
    assert log.lines[-1].endswith("epoch 1: Qabf 0.500")


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
    assert [line.split(" | ")[0] for line in lines if line not in LEGEND] == [
        "IVIF: waiting",
        "IVIF: epoch 2/5",
        "IVIF: done",
    ]


def test_square_brackets_in_a_message_are_shown_as_they_are() -> None:
    console = Console(file=StringIO(), width=140)
    watch(console, lambda: [Row("IVIF", state="failed", message="[Errno 28] disk [red]full")], lambda: False, every=0)
    assert "[Errno 28] disk [red]full" in console.file.getvalue()  # type: ignore[attr-defined]


def numbers(epoch: int, score: float) -> dict[str, float]:
    return (
        {"epoch": epoch, "loss/inner": 1.0}
        | {name: score for name in METRICS}
        | {f"baseline/{name}": 0.25 for name in METRICS}
    )


@pytest.fixture
def results() -> list[Result]:
    worse = Result("IVIF", "", 5, "Qabf", numbers(2, 0.5), numbers(5, 0.125))
    return [
        worse,
        Result("MIF", "worker 0: killed", 5, "Qabf", {}, {}),
        Result("MEIF", "", 5, "Qabf", numbers(5, 0.5), numbers(5, 0.5)),
    ]


def test_result_rows_are_best_last_and_the_average_of_each_task(results: list[Result]) -> None:
    rows = result_rows(results)
    assert [row["task"] for row in rows] == ["IVIF"] * 3 + ["MIF"] * 3 + ["MEIF"] * 3
    assert [row["method"] for row in rows[:3]] == ["trained, best epoch", "trained, last epoch", "(a + b) / 2"]
    assert [row["epoch"] for row in rows] == [2, 5, "", "", "", "", 5, 5, ""]
    assert [row["state"] for row in rows[:4]] == ["done", "done", "", "worker 0: killed"]
    for row, score in zip(rows[:3], (0.5, 0.125, 0.25), strict=True):
        assert [row[name] for name in METRICS] == [score] * len(METRICS)
    assert all(math.isnan(float(rows[3][name])) for name in METRICS)
    assert "loss/inner" not in rows[0]


def test_a_jobs_metrics_are_the_best_epochs_with_the_last_beside_them(results: list[Result]) -> None:
    found = summary(results[0])
    assert (found["Qabf"], found["epoch"], found["last/Qabf"], found["last/epoch"]) == (0.5, 2, 0.125, 5)
    assert summary(results[1]) == {}


def test_the_result_table_shows_the_best_and_the_last_epoch(results: list[Result]) -> None:
    text = rendered(result_table(results), width=120)
    assert "convention 'authors'" in text
    best, last, average = (line for line in text.splitlines() if "IVIF" in line)
    assert "best: epoch 2 of 5" in best
    assert "last: epoch 5 of 5" in last
    assert "(a + b) / 2" in average
    assert best.count("0.5000") == last.count("0.1250") == average.count("0.2500") == len(METRICS)
    assert max(len(line) for line in text.splitlines()) <= 120
    missing = next(line for line in text.splitlines() if " MIF" in line)
    assert missing.count("–") == len(METRICS)
    (one, _) = (line for line in text.splitlines() if "MEIF" in line)
    assert "best and last: epoch 5 of 5" in one


def test_metrics_that_noise_raises_are_not_among_those_that_are_better_higher(results: list[Result]) -> None:
    lines = rendered(result_table(results), width=120).splitlines()
    head = next(line for line in lines if "Qabf" in line)
    assert all(f"{name} ↑" in head for name in ("SCD", "SSIM", "VIF", "Qabf"))
    assert all(f"{name} ↑" not in head and name in head for name in ("EN", "SD", "SF", "AG"))
    assert "Noise raises EN, SD, SF, AG too" in "".join(lines)


def test_the_ending_says_which_epoch_is_best_and_if_training_made_it_worse(results: list[Result]) -> None:
    assert ending(results[0]).splitlines() == [
        "IVIF: the best is epoch 2 of 5: Qabf 0.5000, against the average's 0.2500",
        "IVIF: training has made it worse since: 0.1250 at epoch 5; what is kept as best is epoch 2",
    ]
    assert ending(results[1]) == "MIF: FAILED: worker 0: killed"
    assert ending(results[2]) == "MEIF: the best is epoch 5 of 5: Qabf 0.5000, against the average's 0.2500"
    untrained = Result("MIF", "", 5, "Qabf", numbers(0, 0.2), numbers(5, 0.1999))
    assert ending(untrained).splitlines() == [
        "MIF: the best is epoch 0 (untrained) of 5: Qabf 0.2000 is less than the average's 0.2500",
        "MIF: the last is no better: 0.1999 at epoch 5; what is kept as best is epoch 0 (untrained)",
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_a_log_is_as_wide_as_it_is_told(width: int) -> None:
    console = Console(file=StringIO(), width=width)
    row = training(scores={"Qabf": 0.5}, best_by="Qabf", scored=1, best=(1, 0.5), notes=["a long note " * 15])
    watch(console, lambda: [row], lambda: False, every=0)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert any(line.startswith("IVIF: epoch 2/5") for line in lines)
    assert max(map(len, lines)) <= width
