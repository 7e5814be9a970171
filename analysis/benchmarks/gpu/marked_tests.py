"""The tests that need a GPU, in one run of pytest: a file that cannot be imported here leaves the others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from gpu.rows import Row

ROOT = Path(__file__).resolve().parents[3]
_MARKER = re.compile(r"^\s*@pytest\.mark\.gpu$", re.MULTILINE)
_OUTCOME = re.compile(r"^(tests/\S+\.py)::(.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b")
_BROKEN = re.compile(r"^ERROR (tests/\S+\.py)( - (?P<reason>.+))?$")
_CONFTEST = re.compile(r"^ImportError while loading conftest '(.+)/conftest\.py'")
_MISSING = re.compile(r"ModuleNotFoundError: (No module named '[^']+')")


def marked_files() -> list[Path]:
    """Test files in which something is marked ``gpu``, relative to the root."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [file.relative_to(ROOT) for file in files if _MARKER.search(file.read_text(encoding="utf-8"))]


def test_rows(device: str) -> Iterator[Row]:  # noqa: ARG001 - the marker says what they need
    """A row per file, as soon as the next one begins: how many passed of those that ran."""
    yield from rows_of_runs([str(file) for file in marked_files()], _pytest)


def rows_of_runs(files: Sequence[str], run: Callable[[Sequence[str]], Iterator[str]]) -> Iterator[Row]:
    """The rows of as many runs as it takes: pytest ends where a folder's conftest.py lacks a package.

    Args:
        files: of tests.
        run: gives the lines that pytest says of some of them.
    """
    while files:
        lines = run(files)
        head: list[str] = []
        for line in lines:
            head.append(line)
            if line.startswith("=") or _CONFTEST.match(line):
                break
        found = _CONFTEST.match(head[-1]) if head else None
        lost = [] if found is None else [file for file in files if (ROOT / file).is_relative_to(found[1])]
        yield from rows_of(chain(head, lines), lost or files)
        files = [file for file in files if file not in lost] if lost else []


def _pytest(files: Sequence[str]) -> Iterator[str]:
    options = ["-v", "-m", "gpu", "--color=no", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
    command = [sys.executable, "-m", "pytest", *options, "--continue-on-collection-errors", *files]
    # Other plugins that are there may lack what they need, or spread the tests over processes.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as pytest:
        assert pytest.stdout is not None
        yield from pytest.stdout


def rows_of(lines: Iterable[str], files: Sequence[str]) -> Iterator[Row]:
    """The rows of what pytest says of these files, verbosely."""
    present, found, done = "", list[tuple[str, str]](), set[str]()
    broken: dict[str, str] = {}
    last = "pytest said nothing"
    missing = ""
    for line in lines:
        last = line.strip() or last
        named = _MISSING.search(line)
        missing = named[1] if named is not None else missing
        outcome, error = _OUTCOME.match(line), _BROKEN.match(line)
        if error is not None:
            broken[error[1]] = error["reason"] or missing
        if outcome is None:
            continue
        if outcome[1] != present and present:
            yield _row(present, found)
            found = []
        present = outcome[1]
        done.add(present)
        found.append((outcome[2], outcome[3]))
    if present:
        yield _row(present, found)
    for file in files:
        if file not in done:
            reason = broken.get(file, last)
            short = _MISSING.search(reason)
            yield Row("tests", file, note=f"not run: {reason if short is None else short[1]}")


def _row(file: str, found: Sequence[tuple[str, str]]) -> Row:
    passed = sum(outcome == "PASSED" for _, outcome in found)
    skipped = sum(outcome == "SKIPPED" for _, outcome in found)
    bad = list(dict.fromkeys(name for name, outcome in found if outcome in ("FAILED", "ERROR")))
    note = f"FAILED: {', '.join(bad)}" if bad else f"{skipped} skipped" if skipped else ""
    return Row("tests", file, passed, f"of {len(found)} passed", note=note)
