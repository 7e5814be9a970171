from __future__ import annotations

import math
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from refusion.metrics import METRICS
from refusion.training.display.results import Result, ending, result_rows, result_table, summary


def rendered(what: RenderableType, width: int) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


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


@pytest.mark.parametrize("width", [80, 120])
def test_the_result_table_shows_the_best_and_the_last_epoch(results: list[Result], width: int) -> None:
    lines = rendered(result_table(results), width).splitlines()
    assert lines[0] == "Validation means (convention 'authors')"
    assert max(map(len, lines)) <= width
    best, last, average, missing, one, _ = (line for line in lines if line.startswith(("IVIF", "MIF", "MEIF")))
    assert best.split() == ["IVIF", "best:", "epoch", "2", *["0.5000"] * 4, *["0.50"] * 4]
    assert last.split() == ["IVIF", "last:", "epoch", "5", *["0.1250"] * 4, *["0.12"] * 4]
    assert average.split() == ["IVIF", "(a", "+", "b)", "/", "2", *["0.2500"] * 4, *["0.25"] * 4]
    assert missing.split() == ["MIF", "no", "epoch", *["–"] * len(METRICS)]
    assert one.split()[:4] == ["MEIF", "best:", "epoch", "5"]


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
