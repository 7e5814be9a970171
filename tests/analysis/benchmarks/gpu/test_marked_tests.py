from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpu.marked_tests import ROOT, marked_files, rows_of, rows_of_runs

SAID = """============================= test session starts ==============================
collecting ... collected 9 items / 1 error

tests/a/test_x.py::test_good PASSED                                      [ 10%]
tests/a/test_x.py::test_wrong[1-2] FAILED                                [ 20%]
tests/a/test_x.py::test_torn ERROR                                       [ 30%]
tests/b/test_y.py::test_good[a b] PASSED                                 [ 60%]
tests/b/test_y.py::test_left SKIPPED (needs a CUDA device)               [ 90%]

==================================== ERRORS ====================================
E   ModuleNotFoundError: No module named 'mlflow'
=========================== short test summary info ============================
ERROR tests/c/test_z.py
ERROR tests/d/test_w.py - SyntaxError: invalid syntax
1 failed, 2 passed in 3.00s
"""


def test_the_files_are_those_with_the_marker() -> None:
    files = marked_files()
    assert files
    assert Path("tests/training/test_gpu.py") in files
    assert all("mark.gpu" in (ROOT / file).read_text() for file in files)
    assert Path(__file__).relative_to(ROOT) not in files


def test_each_file_has_a_row_of_what_passed_and_failed() -> None:
    files = ["tests/a/test_x.py", "tests/b/test_y.py", "tests/c/test_z.py", "tests/d/test_w.py"]
    rows = {row.what: row for row in rows_of(SAID.splitlines(), files)}
    assert list(rows) == files
    first, second, third, fourth = rows.values()
    assert (first.value, first.unit, first.note) == (1, "of 3 passed", "FAILED: test_wrong[1-2], test_torn")
    assert (second.value, second.unit, second.note) == (1, "of 2 passed", "1 skipped")
    assert math.isnan(third.value)
    assert third.note == "not run: No module named 'mlflow'"
    assert fourth.note == "not run: SyntaxError: invalid syntax"


def test_what_was_measured_before_the_end_is_there() -> None:
    rows = rows_of(iter(SAID.splitlines()[:8]), ["tests/a/test_x.py"])
    assert next(rows).what == "tests/a/test_x.py"


def test_without_a_word_that_is_said() -> None:
    (row,) = rows_of([], ["tests/a/test_x.py"])
    assert row.note == "not run: pytest said nothing"
    (row,) = rows_of(["/usr/bin/python: No module named pytest\n"], ["tests/a/test_x.py"])
    assert row.note == "not run: /usr/bin/python: No module named pytest"


def test_a_folder_whose_conftest_lacks_a_package_leaves_the_others() -> None:
    asked: list[list[str]] = []

    def pytest(files: Sequence[str]) -> Iterator[str]:
        asked.append(list(files))
        if "tests/c/test_z.py" in files:
            yield f"ImportError while loading conftest '{ROOT}/tests/c/conftest.py'.\n"
            yield "E   ModuleNotFoundError: No module named 'skimage'\n"
        else:
            yield from SAID.splitlines()

    rows = {
        row.what: row for row in rows_of_runs(["tests/a/test_x.py", "tests/c/test_z.py", "tests/b/test_y.py"], pytest)
    }
    assert asked == [
        ["tests/a/test_x.py", "tests/c/test_z.py", "tests/b/test_y.py"],
        ["tests/a/test_x.py", "tests/b/test_y.py"],
    ]
    assert rows["tests/c/test_z.py"].note == "not run: No module named 'skimage'"
    assert rows["tests/b/test_y.py"].value == 1


def test_where_no_test_can_be_loaded_it_ends() -> None:
    def pytest(_: Sequence[str]) -> Iterator[str]:
        yield f"ImportError while loading conftest '{ROOT}/tests/conftest.py'.\n"
        yield "E   ModuleNotFoundError: No module named 'torch'\n"

    rows = list(rows_of_runs(["tests/a/test_x.py", "tests/b/test_y.py"], pytest))
    assert [row.note for row in rows] == ["not run: No module named 'torch'"] * 2
