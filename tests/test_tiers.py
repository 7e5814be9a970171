"""Ray starts only in tests that say so, because `make check` leaves those out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from distribution import JOBS, RAY, rank_of, scope_of

from refusion.errors import UserError
from refusion.runtime import cluster

SENTENCE = "starts Ray and has no marker ray"


def test_ray_cannot_be_started_without_the_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=SENTENCE):
        cluster.connect()


def test_nor_can_it_by_a_process_that_a_test_starts() -> None:
    program = "import ray; ray.init('local', num_cpus=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert SENTENCE in done.stderr.splitlines()[-1]


def test_faults_are_a_tier_of_their_own_which_ci_runs_beside_the_other() -> None:
    root = Path(__file__).resolve().parents[1]
    files = sorted((root / "tests" / "faults").glob("test_*.py"))
    assert files and all("pytest.mark.faults" in file.read_text(encoding="utf-8") for file in files)
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    assert '$(PYTEST) -m "not faults"' in makefile and "-m faults tests/faults" in makefile
    assert "make test-faults" in (root / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_files_that_start_ray_are_two_groups_and_come_first_and_each_other_file_is_its_own() -> None:
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    groups = {scope_of(file) for file in files}
    with_ray = {file for file in files if scope_of(file) in (JOBS, RAY)}
    assert Path(__file__).parent / "jobs" / "test_sweep.py" in with_ray
    assert {scope_of(file) for file in with_ray} == {JOBS, RAY}
    assert {file for file in with_ray if scope_of(file) == JOBS} == {
        file for file in with_ray if file.parent.name == "jobs"
    }
    assert len(groups) == len(files) - len(with_ray) + 2
    order = sorted(files, key=rank_of)
    assert set(order[: len(with_ray)]) == with_ray and scope_of(order[0]) == JOBS
