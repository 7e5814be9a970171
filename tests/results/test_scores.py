from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from refusion.errors import UserError
from refusion.evaluation.csv_file import csv_text, score_table
from refusion.evaluation.ranking import QUALITY, mean_ranks, means_of, rank_cells
from refusion.evaluation.results import MethodScores
from refusion.results.scores import read_scores


def test_scores_come_back_as_they_were_written(folder: Path, methods: list[MethodScores]) -> None:
    found = read_scores(folder / "scores", "MFIF")
    assert [method.name for method in found] == [method.name for method in methods]
    for one, other in zip(found, methods, strict=True):
        pd.testing.assert_frame_equal(one.frame, other.frame, check_names=False)
    assert read_scores(folder / "scores", "MIF") == []


def test_a_method_may_have_a_file_of_its_own_but_only_once(folder: Path, methods: list[MethodScores]) -> None:
    own = MethodScores("other", "authors", methods[0].frame)
    (folder / "scores" / "MFIF-adapted.csv").write_text(csv_text(score_table([own])))
    assert read_scores(folder / "scores", "MFIF")[-1].name == "adapted"
    (folder / "scores" / "MFIF-ours.csv").write_text(csv_text(score_table([own])))
    with pytest.raises(UserError, match=r"MFIF-ours\.csv: the scores of 'ours' stand in another file too"):
        read_scores(folder / "scores", "MFIF")


def test_scores_that_do_not_compare_are_refused(folder: Path, methods: list[MethodScores]) -> None:
    file = folder / "scores" / "MFIF-new.csv"
    file.write_text(csv_text(score_table([MethodScores("new", "tang", methods[0].frame)])))
    with pytest.raises(UserError, match=r"MFIF-new\.csv: must hold scores of the convention 'authors' alone"):
        read_scores(folder / "scores", "MFIF")
    file.write_text(csv_text(score_table([MethodScores("new", "authors", methods[0].frame[:5])])))
    with pytest.raises(UserError, match="'ours' and 'new' of MFIF are scored on different pairs"):
        read_scores(folder / "scores", "MFIF")
    file.write_text("name,EN\n1,2\n")
    with pytest.raises(UserError, match=r"MFIF-new\.csv: has no column SD"):
        read_scores(folder / "scores", "MFIF")
    file.write_text(csv_text(score_table([methods[0]])).replace("0.", "x", 1))
    with pytest.raises(UserError, match="holds something that is no number"):
        read_scores(folder / "scores", "MFIF")


def test_mean_ranks_and_their_highlights(methods: list[MethodScores]) -> None:
    means = means_of(methods)
    assert mean_ranks(means, QUALITY).to_dict() == {"ours": 1, "published": 2, "guided": 3, "max": 4, "average": 5}
    means.loc["average", "EN"] = 9.0
    eight, four = zip(*rank_cells(means), strict=True)
    assert [cell.text for cell in eight] == ["1.12", "2.12", "4.50", "4.12", "3.12"]
    assert [cell.highlight for cell in four] == ["best", "second", "", "", ""]
