from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from refusion.errors import UserError
from refusion.fusing.manifest import LIST_FILE, Row, opened


def test_rows_are_in_the_file_as_soon_as_they_are_added(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "out") as listed:
        for output in ("b.png", "a, and more\n.png"):
            listed.add(Row(output, state="fused"))
            assert output in list(pd.read_csv(listed.file)["output"])
    assert list(pd.read_csv(tmp_path / "new" / "out" / LIST_FILE)["output"]) == ["a, and more\n.png", "b.png"]


def test_the_last_row_of_an_output_counts_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path) as listed:
        listed.add(Row("x.png", state="bad: no"))
        listed.add(Row("x.png", seconds="1", state="fused"))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == [LIST_FILE]
    with opened(tmp_path) as listed:
        assert listed.rows == {"x.png": Row("x.png", seconds="1", state="fused")}
    assert len(pd.read_csv(listed.file)) == 1


def test_a_row_that_was_cut_off_is_none(tmp_path: Path) -> None:
    with opened(tmp_path) as listed:
        listed.add(Row("x.png", state="fused"))
    with listed.file.open("a") as stream:
        stream.write("y.png,/data/a/y.p")
    with opened(tmp_path) as again:
        assert list(again.rows) == ["x.png"]
        again.add(Row("z.png", state="fused"))
    with opened(tmp_path) as last:
        assert list(last.rows) == ["x.png", "z.png"]


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    with opened(tmp_path) as listed:
        listed.add(Row(name, state="fused"))
    with opened(tmp_path) as again:
        assert list(again.rows) == [name]
    assert b"caf\xe9.png" in (tmp_path / LIST_FILE).read_bytes()


def test_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / LIST_FILE).write_text("name,score\nx,1\n")
    with pytest.raises(UserError, match=r"fused\.csv: is no list of fused pictures"), opened(tmp_path):
        pass
    assert (tmp_path / LIST_FILE).read_text() == "name,score\nx,1\n"


def test_two_jobs_do_not_write_one_list(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(UserError, match="another job fuses into this folder"), opened(tmp_path):
        pass
    with opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*file: the folder cannot be made"), opened(tmp_path / "file"):
        pass
