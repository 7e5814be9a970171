from __future__ import annotations

from pathlib import Path

import pytest
from written_pairs import write_pairs

from refusion.cli.looking.hold_out import hold_out
from refusion.errors import UserError
from refusion.inspection.hold_out import by_data_set, by_fold, data_set_of, listed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """MFIF of two data sets, `one` and `two`: four train pairs and two val pairs."""
    root = tmp_path / "data"
    for split, count, seed in (("train", 4, 0), ("val", 2, 9)):
        write_pairs(root, "MFIF", split, count, seed=seed)
        for side in "ab":
            for place, file in enumerate(sorted((root / "MFIF" / split / side).iterdir())):
                file.rename(file.with_name(f"{('one', 'two')[place % 2]}_{split}{place}{file.suffix}"))
    return root


def run(data: Path, out: Path, *more: str) -> int:
    return hold_out(["--task", "MFIF", "--data", str(data), "--out", str(out), *more], "")


def test_a_data_set_that_is_held_out_is_scored_and_not_trained_on(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "unseen"
    for _again in range(2):
        assert run(data, out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["one", "two"]
    for name in ("one", "two"):
        train, val = ([pair[0] for pair in listed(out / name, "MFIF", split)] for split in ("train", "val"))
        assert {data_set_of(pair) for pair in val} == {name} and len(val) == 1
        assert {data_set_of(pair) for pair in train} == {"one", "two"} - {name} and len(train) == 2
    ((pair, a, _),) = listed(out / "one", "MFIF", "val")
    assert a.read_bytes() == (data / "MFIF" / "val" / "a" / f"{pair}{a.suffix}").read_bytes()


def test_each_pair_is_in_one_fold_and_trained_on_in_the_others(data: Path) -> None:
    splits = {split: listed(data, "MFIF", split) for split in ("train", "val")}
    folds = by_fold(splits, 3)
    every = {pair[0] for pairs in splits.values() for pair in pairs}
    scored = [pair[0] for fold in folds for pair in fold.val]
    assert len(folds) == 3 and sorted(scored) == sorted(every)
    for fold in folds:
        assert {pair[0] for pair in fold.train} == every - {pair[0] for pair in fold.val}


def test_what_cannot_be_held_out_is_said(data: Path, tmp_path: Path) -> None:
    splits = {split: [pair for pair in listed(data, "MFIF", split) if pair[0][0] == "o"] for split in ("train", "val")}
    with pytest.raises(UserError, match="all pairs are of one data set by the first word of their names, 'one'"):
        by_data_set(splits)
    next((data / "MFIF" / "val" / "b").iterdir()).unlink()
    with pytest.raises(UserError, match=r"MFIF/val: \w+ has no partner; see python jobs/data\.py"):
        run(data, tmp_path / "out")
    with pytest.raises(UserError, match=r"there is no folder .*nowhere/MFIF/train/a; lay the data set out by"):
        run(tmp_path / "nowhere", tmp_path / "out")
