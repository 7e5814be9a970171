"""A folder of small pairs and a small module that nobody has trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from shipped_modules import tiny_checkpoint
from written_pairs import write_noise

from refusion.fusing.request import Request


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("runs") / "night")


@pytest.fixture
def request_of_four(checkpoint: Path, tmp_path: Path) -> Request:
    """Four pairs of 24×20 pixels in a and b, to be fused into out."""
    write_noise(tmp_path, ["four", "one", "three", "two"])
    return Request(str(checkpoint), "IVIF", tmp_path / "a", tmp_path / "b", tmp_path / "out")
