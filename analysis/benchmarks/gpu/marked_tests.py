"""The tests that need a GPU, file by file, so that one that cannot be imported here leaves the others."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from gpu.rows import Row

ROOT = Path(__file__).resolve().parents[3]
_MARKER = re.compile(r"^\s*@pytest\.mark\.gpu$", re.MULTILINE)
_MISSING = re.compile(r"ModuleNotFoundError: (No module named '[^']+')")


def marked_files() -> list[Path]:
    """Test files in which something is marked ``gpu``, relative to the root."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [file.relative_to(ROOT) for file in files if _MARKER.search(file.read_text(encoding="utf-8"))]


def test_rows(device: str) -> Iterator[Row]:  # noqa: ARG001 - the marker says what they need
    """A row per file: how many passed of those that ran."""
    for file in marked_files():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist"]
            done = subprocess.run(
                [*command, f"--junit-xml={report}", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            yield row_of(str(file), report.read_text() if report.exists() else "", done.stdout + done.stderr)


def row_of(file: str, report: str, said: str) -> Row:
    """The row of one file's tests, from pytest's report in JUnit's form (empty where there is none) and its words."""
    missing = _MISSING.search(said)
    if missing is not None:
        return Row("tests", file, note=f"not run: {missing[1]}")
    if not report:
        return Row("tests", file, note=f"not run: {(said.strip().splitlines() or ['pytest said nothing'])[-1]}")
    suite = next(ElementTree.fromstring(report).iter("testsuite"))
    number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    bad = number["failures"] + number["errors"]
    passed = number["tests"] - bad - number["skipped"]
    failed = [case.get("name", "") for case in suite.iter("testcase") if {"failure", "error"} & {e.tag for e in case}]
    note = f"FAILED: {', '.join(failed)}" if bad else f"{number['skipped']} skipped" if number["skipped"] else ""
    return Row("tests", file, passed, f"of {number['tests']} passed", note=note)
