"""The command data, and --check of every job: nothing is trained, and the exit status says whether pairs are bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_sets.miniatures import write_miniature
from written_pairs import write_pairs

from refusion.cli.data import inspect_data
from refusion.cli.evaluate import evaluate
from refusion.cli.fuse import fuse
from refusion.cli.sweep import sweep
from refusion.cli.train import train_all_tasks
from refusion.errors import UserError
from refusion.images.pair_check import find_and_check


def test_a_downloaded_data_set_is_told_shown_and_laid_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_miniature(tmp_path / "data", "RoadScene")
    sheet, out = tmp_path / "new" / "sheet.html", tmp_path / "out"
    options = ["--sheet", str(sheet), "--write", str(out), "--split", "train=50%,val=50%"]
    assert inspect_data([str(tmp_path / "data"), *options], "") == 0
    text = capsys.readouterr().out
    assert "IVIF/train: train is 2 of RoadScene: a from RoadScene-master/cropinfrared" in text
    assert "4 pairs laid out by links" in text
    assert sheet.read_text().count("data:image/jpeg;base64,") == 8
    assert [len(find_and_check(out, "IVIF", split).pairs) for split in ("train", "val")] == [2, 2]


def test_bad_pairs_are_told_by_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path, "MIF", "val", 3)
    (tmp_path / "MIF" / "val" / "a" / "scene_1.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"found 1 problem.*\n  MIF/val/a/scene_1\.png"):
        inspect_data([str(tmp_path)], "")
    assert "2 pairs, 1 problems" in capsys.readouterr().out
    assert inspect_data([str(tmp_path), "--skip-bad-pairs"], "") == 0


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("job", ["train", "sweep", "evaluate", "fuse"])
def test_every_job_checks_its_data_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, job: str, bad: bool
) -> None:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    data, val = tmp_path / "data", tmp_path / "data" / "IVIF" / "val"
    for split in ("train", "val"):
        write_pairs(data, "IVIF", split, 2)
    if bad:
        (val / "b" / "scene_1.png").unlink()
    call = {
        "train": lambda: train_all_tasks(["--data", str(data), "--check"], ""),
        "sweep": lambda: sweep(["--data", str(data), "--task", "IVIF", "--check"], ""),
        "evaluate": lambda: evaluate(
            [
                "--baseline",
                "average",
                "--task",
                "IVIF",
                "--data",
                str(data),
                "--out",
                str(tmp_path / "x.csv"),
                "--check",
            ],
            "",
        ),
        "fuse": lambda: fuse(
            ["--task", "IVIF", "--a", str(val / "a"), "--b", str(val / "b"), "--out", str(tmp_path / "x"), "--check"],
            "",
        ),
    }[job]
    if bad:
        with pytest.raises(UserError, match=r"found 1 problem"):
            call()
    else:
        assert call() == 0
        assert "2 good" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
