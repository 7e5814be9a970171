from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from refusion.reporting import training_plots
from refusion.reporting.figures import BEST, DEFAULT, ENDING_COLOURS, NothingToShowError, to_png
from refusion.reporting.study import Study, read_study
from refusion.reporting.training_plots import endings_chart, learning_curves, lineage_chart, schedule_chart
from refusion.tracking.sweeps import read_sweep


@pytest.fixture(scope="module")
def asha(store: str) -> Study:
    return read_study(read_sweep(store, "study", "asha"))


@pytest.fixture(scope="module")
def pbt(store: str) -> Study:
    return read_study(read_sweep(store, "study", "pbt"))


def colours(figure: Figure, panel: int = 0) -> dict[str, list[float]]:
    return {str(line.get_color()): list(line.get_ydata()) for line in figure.axes[panel].lines}


def test_a_panel_per_goal_with_best_and_default_bold(asha: Study) -> None:
    figure = learning_curves(asha)
    assert [axes.get_title() for axes in figure.axes] == ["SSIM", "Qabf", "VIF", "SCD"]
    for panel, key in enumerate(asha.keys):
        lines = colours(figure, panel)
        for number, colour in ((asha.best, BEST), (0, DEFAULT)):
            assert number is not None
            assert lines[colour] == [row[key] for row in asha.histories[number].values()]
    assert len(figure.axes[0].lines) == len(asha.histories)


def test_one_very_bad_trial_does_not_press_the_others_flat(asha: Study) -> None:
    number = next(number for number in asha.order[1:] if number in asha.histories and number)
    bad = {epoch: dict.fromkeys(row, -1e6) for epoch, row in asha.histories[number].items()}
    changed = dataclasses.replace(asha, histories={**asha.histories, number: bad})
    low, high = learning_curves(changed).axes[0].get_ylim()
    assert high - low < 2
    before = learning_curves(asha).axes[0].get_ylim()
    assert before[0] <= min(row["SSIM"] for row in asha.histories[0].values())


def test_a_bar_per_trial_in_the_colour_of_its_end(asha: Study) -> None:
    axes = endings_chart(asha).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert len(widths) == 13
    assert widths[0] == 9
    assert 0 < widths[2] < 0.1
    assert axes.patches[2].get_facecolor()[:3] == pytest.approx(
        tuple(int(ENDING_COLOURS["failed"][place : place + 2], 16) / 255 for place in (1, 3, 5))
    )
    assert [line.get_xdata()[0] for line in axes.lines] == [1, 3]


def test_descent_goes_back_through_the_donors(pbt: Study) -> None:
    lineage = [
        {"epoch": 0, "from": None, "values": {}},
        {"epoch": 2, "from": 3, "values": {}},
        {"epoch": 4, "from": 1, "values": {}},
    ]
    changed = dataclasses.replace(pbt.trials[2], lineage=lineage)
    found = training_plots._descent(dataclasses.replace(pbt, trials={**pbt.trials, 2: changed}), 2)
    # Trial 2 took trial 1's state at epoch 4, which had taken trial 3's at epoch 2.
    assert found == [(4, 8, 2, 1), (2, 4, 1, 3), (0, 2, 3, None)]


def test_the_best_schedule_is_its_lineage(pbt: Study) -> None:
    assert pbt.best is not None
    figure = schedule_chart(pbt)
    assert {axes.get_title() for axes in figure.axes} == {"schedule.rate.value", "schedule.inner_steps"}
    for axes in figure.axes:
        bold = next(line for line in axes.lines if line.get_color() == BEST)
        values = [entry["values"][axes.get_title()] for entry in pbt.trials[pbt.best].lineage]
        assert list(bold.get_ydata()) == [*values, values[-1]]
        assert bold.get_xdata()[-1] == 8


@pytest.mark.parametrize("draw", [learning_curves, endings_chart, lineage_chart, schedule_chart])
def test_an_evolved_sweep_is_drawn(pbt: Study, draw: Callable[[Study], Figure]) -> None:
    assert to_png(draw(pbt)).startswith(b"\x89PNG")


def test_every_picture_says_why_it_is_missing(asha: Study) -> None:
    empty = dataclasses.replace(asha, trials={}, histories={})
    for draw, study in (
        (learning_curves, empty),
        (endings_chart, empty),
        (lineage_chart, asha),
        (schedule_chart, asha),
    ):
        with pytest.raises(NothingToShowError):
            draw(study)


def test_numbers_that_are_lost_leave_a_gap(asha: Study) -> None:
    lost = {1: dict.fromkeys(asha.keys, math.nan)}
    only = dataclasses.replace(asha, histories={5: lost}, best=5)
    assert to_png(learning_curves(only)).startswith(b"\x89PNG")
