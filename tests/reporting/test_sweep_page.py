from __future__ import annotations

import pytest

from refusion.reporting.study import Study, read_study
from refusion.reporting.sweep_page import searched, sections, sweep_page
from refusion.tracking.sweeps import RecordedSweep, RecordedTrial, read_sweep


@pytest.fixture(scope="module")
def study(store: str) -> Study:
    return read_study(read_sweep(store, "study", "asha"))


def test_it_is_said_what_was_searched_and_how(study: Study) -> None:
    (first,) = searched(study)
    for said in ("5 parameters of IVIF", "tpe", "asha", "13 trials", "1 failed", "average rank in SSIM,Qabf,VIF,SCD"):
        assert said in first


def test_the_outcome_stands_first_and_rows_of_settings_last(study: Study) -> None:
    found = sections(study)
    assert found[0].title == "What to do"
    assert found[-1].title == "All settings"
    assert [section.title for section in found[1:5]] == [
        "Which parameters mattered",
        "Learning curves",
        "Score by parameter",
        "Learning rate against inner steps",
    ]


@pytest.mark.slow
def test_pictures_for_each_kind_of_sweep(study: Study, store: str) -> None:
    titles = {section.title: section for section in sections(study)}
    assert all(section.picture or section.table for title, section in titles.items() if title != "How it was searched")
    assert "schedule.rate.every" in str(titles["Which parameters mattered"].picture.caption)  # type: ignore[union-attr]
    assert "Lineage" not in titles
    evolved = {section.title: section for section in sections(read_study(read_sweep(store, "study", "pbt")))}
    assert evolved["Lineage"].picture
    assert evolved["Schedules that were found"].picture
    assert evolved["Which parameters mattered"].picture is None
    assert "at least 8 trials" in evolved["Which parameters mattered"].paragraphs[0]


def test_a_sweep_that_has_just_begun_has_a_page() -> None:
    spec = {"name": "s", "tasks": ["IVIF", "MIF"], "objective": "SSIM", "space": {"objective.alpha": [1.0, 2.0]}}
    begun = RecordedTrial(0, "r", {}, "running", [{"epoch": 0, "from": None, "values": {}}], {}, 0.0)
    for trials in ([], [begun]):
        page = sweep_page(read_study(RecordedSweep("s", "r", spec, {}, trials, None, None)), "mlflow ui")
        assert "No trial has been validated yet" in page
        assert page.count("Left out: ") >= 4


def test_several_tasks_show_each_goal() -> None:
    tasks = ["IVIF", "MIF"]
    spec = {"name": "s", "tasks": tasks, "objective": "SSIM,VIF", "space": {"objective.alpha": [1.0, 2.0]}}
    trials = [
        RecordedTrial(
            number,
            "r",
            {"objective.alpha": float(number)} if number else {},
            "finished",
            [{"epoch": 0, "from": None, "values": {}}],
            {1: {f"{task}/{name}": number / 10 for task in tasks for name in ("SSIM", "VIF", "EN")}},
            1.0,
        )
        for number in range(3)
    ]
    study = read_study(RecordedSweep("s", "r", spec, {}, trials, None, None))
    assert study.best == 2
    assert study.metrics == ["IVIF/EN", "IVIF/SSIM", "IVIF/VIF", "MIF/EN", "MIF/SSIM", "MIF/VIF"]
    assert "MIF/VIF" in sweep_page(study, "mlflow ui")
