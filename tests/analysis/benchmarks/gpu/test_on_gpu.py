"""The whole report in miniature on the CPU, and what becomes of sections that take too long or break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import on_gpu
from gpu.on_gpu import BUDGETS, WHOLE, main, run_section
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
    assert {"torch", "cuda", "triton", "python"} == set(found["versions"])
    assert all(row["note"].endswith("not measured") for row in rows if row["section"] == "targets")
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


def replaced(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Sections run this program instead."""
    popen = subprocess.Popen

    def start(_: list[str], **options: Any) -> subprocess.Popen[str]:
        return popen([sys.executable, "-c", program], **options)

    monkeypatch.setattr(on_gpu.subprocess, "Popen", start)


def test_without_time_a_section_is_left_out() -> None:
    (row,) = run_section("metrics", "cpu", 0)
    assert row.note == "left out: no time was left"


def test_all_budgets_together_stay_within_eight_minutes() -> None:
    assert sum(BUDGETS.values()) <= WHOLE < 8 * 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    assert "no CUDA device here; --dry-run" in capsys.readouterr().err
