from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gpu import needed

ROOT = Path(__file__).resolve().parents[4]
PINNED = (ROOT / "constraints.txt").read_text()
# Hides what a bare interpreter with torch would not have, then imports what measures.
BARE = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from gpu.needed import OF_TESTS, PACKAGES
of_torch = "torch functorch torchgen sympy mpmath networkx jinja2 markupsafe fsspec filelock setuptools".split()
hidden = set(packages_distributions()) - ({*PACKAGES, *of_torch, "refusion"} - OF_TESTS)
assert {"ray", "mlflow", "imagehash", "pytest"} <= hidden
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
from importlib import import_module
from gpu.section import SECTIONS
for module, function in SECTIONS.values():
    assert callable(getattr(import_module("gpu." + module), function))
import gpu.on_gpu
print("all there")
"""


def test_nothing_is_missing_where_the_project_is_installed() -> None:
    assert needed.missing() == []


def test_what_cannot_be_imported_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed, "find_spec", lambda module: None if module in ("rich", "cv2") else object())
    assert needed.missing() == ["rich", "opencv-python-headless"]
    assert needed.missing({"cv2"}) == ["rich"]
    assert set(needed.PACKAGES) >= needed.OF_TESTS


@pytest.mark.parametrize("package", needed.PACKAGES.values())
def test_all_have_a_version_of_the_project(package: str) -> None:
    assert re.search(rf"^{re.escape(package)}==", PINNED, re.MULTILINE)


@pytest.mark.slow
def test_every_section_can_be_imported_with_torch_and_what_is_listed() -> None:
    folders = map(str, (ROOT / "platform", ROOT / "analysis" / "benchmarks"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run([sys.executable, "-c", BARE], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all there", done.stderr
