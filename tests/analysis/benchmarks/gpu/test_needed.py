from __future__ import annotations

import re
from pathlib import Path

import pytest
from gpu import needed

PINNED = (Path(__file__).resolve().parents[4] / "constraints.txt").read_text()


def test_nothing_is_missing_where_the_project_is_installed() -> None:
    assert needed.missing() == []


def test_what_cannot_be_imported_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed, "find_spec", lambda module: None if module in ("rich", "cv2") else object())
    assert needed.missing() == ["rich", "opencv-python-headless"]


@pytest.mark.parametrize("package", needed.PACKAGES.values())
def test_all_have_a_version_of_the_project(package: str) -> None:
    assert re.search(rf"^{re.escape(package)}==", PINNED, re.MULTILINE)
