from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console, RenderableType

from refusion.runtime.console import wrapped
from refusion.runtime.progress_board import Row
from refusion.training.display.progress import LEGEND, PlainLines, live_table, plain_line, watch

LEGEND_LINES = wrapped(LEGEND, 120)


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
    assert plain_line(row) == "MIF: done | epoch 3: Qabf 0.500 | best 0.625 (epoch 1)"
    row.scored = 0
    assert plain_line(row) == "MIF: done | epoch 0 (untrained): Qabf 0.500 | best 0.625 (epoch 1)"
    row.message = "worker 0: killed"
    assert plain_line(row) == "MIF: done | worker 0: killed"


def test_a_plain_line_has_at_most_120_columns_and_keeps_what_matters() -> None:
    scored = {"scores": {"Qabf": 0.5}, "scored": 11, "best_by": "Qabf", "best": (2, 0.625)}
    line = plain_line(training(epoch=12, epochs=50, step=599, **scored))
    assert len(line) <= 120
    assert line.startswith("IVIF: epoch 12/50 | meta 599/600 | L_f 0.1235 L_r 0.5000 | ")
    assert line.endswith(" | 1:02:05 left | epoch 11: Qabf 0.500 | best 0.625 (epoch 2)")
    assert len(plain_line(Row("MIF", state="failed", message="no " * 80))) == 120


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
    assert log.lines[1 : 1 + len(LEGEND_LINES)] == LEGEND_LINES
    shown = [line for line in log.lines if line not in LEGEND_LINES]
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
    assert log.lines[-1] == "IVIF: epoch 1: Qabf 0.500 | 1:02:05 left"


def test_scores_that_come_before_the_next_step_have_a_line_without_steps() -> None:
    log = Log()
    scored = {"scores": {"Qabf": 0.5}, "scored": 1, "best_by": "Qabf", "best": (1, 0.5)}
    for row in (training(), training(**scored), training(step=11, **scored | {"scored": 2, "best": (1, 0.625)})):
        log.plain.show([row])
    assert log.lines[-2:] == [
        "IVIF: epoch 1: Qabf 0.500 | 1:02:05 left",
        plain_line(training(step=11, **scored | {"scored": 2, "best": (1, 0.625)})),
    ]


def test_a_narrow_line_leaves_the_best_out_before_it_is_cut() -> None:
    scored = {"scores": {"Qabf": 0.5}, "scored": 2, "best_by": "Qabf", "best": (1, 0.625)}
    assert plain_line(training(**scored), 80).endswith(" | 1:02:05 left | epoch 2: Qabf 0.500")


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
    assert [line.split(" | ")[0] for line in lines if line not in LEGEND_LINES] == [
        "IVIF: waiting",
        "IVIF: epoch 2/5",
        "IVIF: done",
    ]


def test_square_brackets_in_a_message_are_shown_as_they_are() -> None:
    console = Console(file=StringIO(), width=140)
    watch(console, lambda: [Row("IVIF", state="failed", message="[Errno 28] disk [red]full")], lambda: False, every=0)
    assert "[Errno 28] disk [red]full" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_log_is_as_wide_as_it_is_told(width: int) -> None:
    console = Console(file=StringIO(), width=width)
    row = training(scores={"Qabf": 0.5}, best_by="Qabf", scored=1, best=(1, 0.5), notes=["a long note " * 15])
    watch(console, lambda: [row], lambda: False, every=0)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert any(line.startswith("IVIF: epoch 2/5") for line in lines)
    assert max(map(len, lines)) <= width
