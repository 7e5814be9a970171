from __future__ import annotations

import dataclasses
import math

import pytest

from refusion.reporting.page import Section
from refusion.reporting.study import Study, read_study
from refusion.reporting.sweep_outcome import both_pictures, compared, result_sentence, what_to_do
from refusion.reporting.tables import best_settings
from refusion.tracking.sweeps import read_sweep


@pytest.fixture(scope="module")
def study(store: str) -> Study:
    return read_study(read_sweep(store, "study", "asha"))


def without_outcome(study: Study) -> Study:
    return dataclasses.replace(study, sweep=dataclasses.replace(study.sweep, comparison=None, best_yaml=None))


def test_the_first_sentence_says_how_good(study: Study) -> None:
    assert result_sentence(study).startswith(
        f"Trial {study.best} is better than trial 0, the base settings: it wins 75.0 %"
    )
    assert "62.5 % to 87.5 %" in result_sentence(study)
    assert "has not been compared" in result_sentence(without_outcome(study))
    assert "no trial has surpassed" in result_sentence(dataclasses.replace(study, best=0))
    assert "no best one" in result_sentence(dataclasses.replace(study, best=None))


def test_the_comparison_is_read_back_as_it_was(study: Study) -> None:
    found = compared(study)
    assert found is not None
    assert found.plain() == study.sweep.comparison
    assert math.isnan(found.metrics["EN"].ours)


def test_it_says_what_to_do_and_what_that_is_worth(study: Study) -> None:
    section = what_to_do(study)
    said = " ".join(section.paragraphs)
    assert "--config best.yaml" in said
    assert "SSIM +0.0500 (+0.0200 to +0.0800)" in said
    assert "chance" not in said
    assert section.table is not None
    every = best_settings(study)[1]
    assert section.table.rows == [row for row in every if row[1] not in ("–", row[2])]
    assert 0 < len(section.table.rows) < len(every) or all(row[1] != row[2] for row in every)


def test_a_gain_that_may_be_chance_is_called_so(study: Study) -> None:
    comparison = {**(study.sweep.comparison or {}), "better": False}
    unsure = dataclasses.replace(study, sweep=dataclasses.replace(study.sweep, comparison=comparison))
    assert "chance" in " ".join(what_to_do(unsure).paragraphs)


def test_the_same_pair_by_both_is_one_picture(study: Study) -> None:
    section = what_to_do(study)
    assert section.picture is not None and section.beside
    titles = [axes.get_title() for axes in both_pictures(study).axes]
    assert titles == [
        "trial 0, the base settings · head", "zoomed", f"trial {study.best}, the best · head", "zoomed",
    ]  # fmt: skip


def test_without_pictures_the_page_says_so(store: str) -> None:
    section = what_to_do(read_study(read_sweep(store, "study", "pbt")))
    assert section.picture is None
    assert "validation.pictures" in section.paragraphs[-1]


@pytest.mark.parametrize(("best", "said"), [(0, "Keep the base settings"), (None, "Wait for the first validation")])
def test_without_a_better_trial_there_is_nothing_to_train_with(study: Study, best: int | None, said: str) -> None:
    section: Section = what_to_do(dataclasses.replace(study, best=best))
    assert section.paragraphs[0].startswith(said)
    assert section.picture is None
