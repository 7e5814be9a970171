from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pytest
from stored.runs import MakeRun, listed

from refusion.errors import UserError
from refusion.inventory.pruning import delete
from refusion.inventory.superseded import superseded
from refusion.runtime.lifetime.claims import Claim


def names(needed: Collection[str] = ()) -> dict[str, str]:
    return {one.entry.name: one.why for one in superseded(list(listed().values()), needed)}


def test_a_run_goes_where_a_finished_one_is_better_on_the_same_pairs(make_run: MakeRun) -> None:
    make_run("worse", [0.5, 0.6])
    make_run("other-pairs", [0.5, 0.6], val="others")
    make_run("better", [0.5, 0.7])
    assert names() == {"worse": "better is better on the same pairs"}


def test_what_is_unfinished_supersedes_nothing(make_run: MakeRun) -> None:
    make_run("worse", [0.5, 0.6])
    make_run("half", [0.9])
    assert names() == {}


def test_of_equal_runs_the_later_stays(make_run: MakeRun) -> None:
    folders = [make_run(name, [0.5, 0.6]) for name in ("earlier", "later")]
    for hour, folder in enumerate(folders):
        for file in folder.rglob("*"):
            os.utime(file, (hour * 3600, hour * 3600))
    assert list(names()) == ["earlier"]


def test_what_lives_or_is_needed_is_never_superseded(make_run: MakeRun, gone: Claim) -> None:
    make_run("better", [0.5, 0.7])
    make_run("alive", [0.5], owner=Claim.mine())
    folder: Path = make_run("needed", [0.5, 0.6])
    make_run("lost", [0.5], owner=gone)
    assert set(names({str(folder)})) == {"lost"}
    assert set(names()) == {"lost", "needed"}


def test_one_that_was_trained_and_not_measured_stays_and_an_empty_one_goes(make_run: MakeRun) -> None:
    make_run("empty", [])
    latest = make_run("unmeasured", []) / "MIF" / "latest"
    latest.mkdir(parents=True)
    (latest / "state.pt").write_bytes(b"0")
    assert names() == {"empty": "it stopped before anything was trained"}


def test_deleting_frees_what_was_there_and_refuses_what_lives(make_run: MakeRun) -> None:
    folder, alive = make_run("done", [0.5, 0.6]), make_run("alive", [0.5], owner=Claim.mine())
    found = listed()
    # The claim itself is a file of the folder while it is held.
    assert delete(found["done"], print) >= found["done"].size
    assert not folder.exists()
    with pytest.raises(UserError, match="is at work on it"):
        delete(found["alive"], print)
    assert (alive / "job.yaml").is_file()
