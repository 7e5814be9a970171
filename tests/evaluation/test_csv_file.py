from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refusion.errors import UserError
from refusion.evaluation.csv_file import check_writable, csv_text, score_table, write_atomically
from refusion.evaluation.results import MethodScores


def scores(name: str, pictures: dict[str, float]) -> MethodScores:
    return MethodScores(name, "authors", pd.DataFrame({"EN": pictures}, dtype="float64"))


def test_one_method_has_a_row_per_picture_and_all_digits() -> None:
    text = csv_text(score_table([scores("ours", {"z": 0.1 + 0.2, "010": math.pi, "b": math.nan})]))
    assert text == ("name,EN,convention\n010,3.141592653589793,authors\nb,nan,authors\nz,0.30000000000000004,authors\n")


def test_several_methods_stand_one_below_the_other_for_each_picture() -> None:
    table = score_table([scores("second", {"x": 1.0, "y": 2.0}), scores("first", {"y": 4.0, "x": 3.0})])
    assert list(table.columns) == ["name", "method", "EN", "convention"]
    assert table.to_numpy().tolist() == [
        ["x", "second", 1.0, "authors"],
        ["x", "first", 3.0, "authors"],
        ["y", "second", 2.0, "authors"],
        ["y", "first", 4.0, "authors"],
    ]


def test_scores_survive_the_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=50)
    method = scores("ours", {f"{index:03d}": value for index, value in enumerate(values)})
    write_atomically(tmp_path / "out.csv", csv_text(score_table([method])))
    read = pd.read_csv(tmp_path / "out.csv", dtype={"name": str})
    assert read["EN"].to_list() == values.tolist()
    assert read["name"][1] == "001"


def test_folders_are_made_and_unfit_places_refused(tmp_path: Path) -> None:
    assert check_writable(tmp_path / "new" / "folder" / "out.csv") == tmp_path / "new" / "folder" / "out.csv"
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    with pytest.raises(UserError, match=r"--out .*is a folder"):
        check_writable(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*file/out\.csv: cannot be written"):
        check_writable(tmp_path / "file" / "out.csv")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "out.csv"
    write_atomically(file, "old")
    umask = os.umask(0)
    os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask

    def interrupted(_self: Path, _mode: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "chmod", interrupted)
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    write_atomically(file, "new")
    assert file.read_text() == "new"
