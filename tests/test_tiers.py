"""Ray starts only in tests that say so, because `make check` leaves those out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from refusion.runtime import cluster

SENTENCE = "starts Ray and has no marker ray"


def test_ray_cannot_be_started_without_the_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(OSError, match=SENTENCE):
        cluster.connect()


def test_nor_can_it_by_a_process_that_a_test_starts() -> None:
    program = "import ray; ray.init('local', num_cpus=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert SENTENCE in done.stderr.splitlines()[-1]
