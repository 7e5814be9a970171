"""The whole report in miniature on the CPU, and what becomes of sections that take too long or break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import on_gpu
from gpu.on_gpu import BUDGETS, WHOLE, main, run_section
from gpu.rows import Row
from gpu.section import SECTIONS
from gpu.steps import PARTS

SCRIPT = Path(__file__).resolve().parents[4] / "analysis" / "benchmarks" / "on_gpu.sh"


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders that the script puts on sys.path."""
    folders = (SCRIPT.parents[2] / "platform", SCRIPT.parent, *filter(None, [os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))


@pytest.mark.slow
def test_the_dry_run_measures_every_section(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.json"
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["bash", str(SCRIPT), "--dry-run", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    rows = found["rows"]
    assert found["device"] == "cpu"
    assert {row["section"] for row in rows} == {*BUDGETS, "targets"}
    assert all(row["value"] is not None or row["note"] for row in rows)
    assert not any("cut off" in row["note"] for row in rows)
    for section, ways in (("step", {"eager", "graph"}), ("kernels", {"eager"}), ("bandwidth", {"eager"})):
        for part in PARTS:
            of_part = [row for row in rows if row["section"] == section and row["what"].startswith(part)]
            assert ways <= {row["what"].split(", ", 3)[-1] for row in of_part}
            assert all(row["value"] > 0 for row in of_part)
    assert {"torch", "cuda", "triton", "python", "commit"} == set(found["versions"])
    assert all(row["note"].endswith("not run on a card") for row in rows if row["section"] == "targets")
    assert found["seconds"] < WHOLE
    assert "× textbook" in done.stdout
    for row in rows:
        assert f"{row['section']}: " in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("path")
def test_a_section_that_takes_too_long_is_cut_off_and_keeps_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time; from gpu.rows import Row; print(Row('step', 'one', 1.0).line(), flush=True); time.sleep(99)"
    replaced(monkeypatch, program)
    start = time.monotonic()
    one, rest = run_section("step", "cpu", 5)
    assert time.monotonic() - start < 30
    assert (one.what, one.value) == ("one", 1.0)
    assert rest.note == "cut off after 5 s"


@pytest.mark.usefixtures("path")
def test_a_section_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, "print('compiling'); raise RuntimeError('an illegal address was met')")
    (rest,) = run_section("step", "cpu", 60)
    assert rest.note == "broke: RuntimeError: an illegal address was met"


def replaced(monkeypatch: pytest.MonkeyPatch, program: str) -> list[subprocess.Popen[str]]:
    """Sections run this program instead; returns those that were started."""
    popen, started = subprocess.Popen, list[subprocess.Popen[str]]()

    def start(_: list[str], **options: Any) -> subprocess.Popen[str]:
        started.append(popen([sys.executable, "-c", program], **options))
        return started[-1]

    monkeypatch.setattr(on_gpu.subprocess, "Popen", start)
    return started


@pytest.mark.usefixtures("path")
def test_a_section_that_breaks_leaves_the_others_and_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, threads = tmp_path / "out.json", torch.get_num_threads()

    def rows_of(section: str, _: str) -> Iterator[Row]:
        written = json.loads(out.read_text())["rows"] if out.exists() else []
        assert [row["what"] for row in written if row["section"] == "one"] == (["one"] if section == "epoch" else [])
        yield Row("one" if section == "step" else "two", "one", 2.0, "ms")
        if section == "step":
            raise ValueError("it is [red]")

    monkeypatch.setattr(on_gpu, "rows_of", rows_of)
    try:
        assert main(["--dry-run", "--only", "step", "epoch", "--out", str(out)]) == 1
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "step: the rest: broke: ValueError: it is [red]" in said
    assert "1 of 15 rows FAILED or broke" in said
    assert [row["section"] for row in json.loads(out.read_text())["rows"]][:3] == ["one", "step", "two"]


def test_an_interrupted_program_leaves_no_section_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time; print('compiling', flush=True); time.sleep(600)"
    monkeypatch.setattr(on_gpu, "read_row", interrupted)
    started = replaced(monkeypatch, program)
    with pytest.raises(KeyboardInterrupt):
        list(run_section("step", "cpu", 300))
    assert started[0].wait(timeout=30) == -signal.SIGKILL


def interrupted(_: str) -> Row:
    raise KeyboardInterrupt


def test_without_time_a_section_is_left_out() -> None:
    (row,) = run_section("metrics", "cpu", 0)
    assert row.note == "left out: no time was left"


def test_all_budgets_together_stay_within_eight_minutes() -> None:
    assert sum(BUDGETS.values()) <= WHOLE < 8 * 60
    assert BUDGETS.keys() == SECTIONS.keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    assert "no CUDA device here; --dry-run" in capsys.readouterr().err
