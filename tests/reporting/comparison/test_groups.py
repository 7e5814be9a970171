from __future__ import annotations

import pytest

from refusion.errors import UserError
from refusion.metrics import METRICS
from refusion.reporting.comparison.groups import group_runs
from refusion.tracking.comparison.runs import read_runs


def test_only_runs_of_the_same_pairs_are_in_a_group_and_it_is_said(written) -> None:  # type: ignore[no-untyped-def]
    compared = group_runs(read_runs(written.uri, "study", METRICS))
    assert [list(group.runs) for group in compared.groups] == [["night", "morning", "laplacian"], ["elsewhere"]]
    assert [group.pictures for group in compared.groups] == [10, 4]
    apart, old = sorted(compared.notes, key=lambda note: "ancient" in note)
    assert "scored on different pairs" in apart and "elsewhere on 4 pairs (digest digest-t)" in apart
    assert old == "IVIF, ancient: is left out, since an earlier version kept no scores per picture."


def test_runs_are_chosen_by_name_and_the_newest(written) -> None:  # type: ignore[no-untyped-def]
    named = read_runs(written.uri, "study", METRICS, ["morning", "night"])
    assert [run.name for run in named] == ["night", "morning"]
    newest = read_runs(written.uri, "study", METRICS, newest=2, job=written.jobs["night"])
    assert [run.name for run in newest] == ["ancient", "night"]


def test_a_baseline_without_scores_on_some_pairs_leaves_the_average_there(written) -> None:  # type: ignore[no-untyped-def]
    compared = group_runs(read_runs(written.uri, "study", METRICS), "night")
    assert [group.baseline for group in compared.groups] == ["night", "average"]
    assert any("night has no scores there" in note for note in compared.notes)


def test_unknown_names_are_refused_with_those_there_are(written) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"--baseline evening: is neither average nor one of .*night"):
        group_runs(read_runs(written.uri, "study", METRICS), "evening")
    with pytest.raises(UserError, match=r"--runs evening: the experiment 'study' has no such run; there are .*night"):
        read_runs(written.uri, "study", METRICS, ["evening"])
    with pytest.raises(UserError, match=r"--experiment 'other': there is none"):
        read_runs(written.uri, "other", METRICS)
