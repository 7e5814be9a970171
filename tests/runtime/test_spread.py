"""Packing of what is sent to workers; tests/jobs/test_evaluate.py and test_fuse.py cover the spreading."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_networks import Tiny

from refusion.import_path import IMPORT_FOLDERS
from refusion.runtime.spread import Packed


def test_a_worker_finds_a_users_network_in_the_folders_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(Packed({"mine": Tiny(3)}))
    monkeypatch.setenv(IMPORT_FOLDERS, str(Path(__file__).resolve().parents[1] / "support"))
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer)['mine'].body[0].out_channels)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, input=sent, capture_output=True, check=False)
    assert done.stdout.strip() == b"3", done.stderr.decode()
