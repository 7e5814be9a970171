from __future__ import annotations

import math
from pathlib import Path

import pytest
from gpu.marked_tests import ROOT, marked_files, row_of

REPORT = """<?xml version="1.0"?><testsuites><testsuite tests="4" failures="1" errors="1" skipped="{skipped}">
<testcase name="good"/><testcase name="wrong"><failure/></testcase><testcase name="torn"><error/></testcase>
<testcase name="left"><skipped/></testcase></testsuite></testsuites>"""
GOOD = '<testsuites><testsuite tests="3" failures="0" errors="0" skipped="{skipped}"/></testsuites>'


def test_the_files_are_those_with_the_marker() -> None:
    files = marked_files()
    assert files
    assert Path("tests/training/test_gpu.py") in files
    assert all("mark.gpu" in (ROOT / file).read_text() for file in files)
    assert Path(__file__).relative_to(ROOT) not in files


def test_what_failed_is_named() -> None:
    row = row_of("tests/test_x.py", REPORT.format(skipped=1), "")
    assert (row.value, row.unit, row.note) == (1, "of 4 passed", "FAILED: wrong, torn")


@pytest.mark.parametrize(("skipped", "passed", "note"), [(0, 3, ""), (2, 1, "2 skipped")])
def test_passed_and_skipped_are_counted(skipped: int, passed: int, note: str) -> None:
    row = row_of("tests/test_x.py", GOOD.format(skipped=skipped), "3 passed")
    assert (row.value, row.unit, row.note) == (passed, "of 3 passed", note)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("E   ModuleNotFoundError: No module named 'mlflow'\n1 error", "No module named 'mlflow'"),
        ("/usr/bin/python: No module named pytest\n", "/usr/bin/python: No module named pytest"),
        ("", "pytest said nothing"),
    ],
)
def test_files_that_cannot_be_run_say_why(said: str, reason: str) -> None:
    row = row_of("tests/test_x.py", "", said)
    assert math.isnan(row.value)
    assert row.note == f"not run: {reason}"
