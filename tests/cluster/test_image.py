"""The Dockerfile, by a linter and by what it copies; it is not built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def lint(text: str) -> str:
    # Installed with the tests, from PyPI.
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program is not None
    return subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False).stdout


def test_the_linter_has_nothing_to_say() -> None:
    assert lint(TEXT) == ""


def test_the_linter_would_say_so() -> None:
    assert "DL3006" in lint(re.sub(r"^FROM .*$", "FROM python", TEXT, flags=re.MULTILINE))


def test_the_base_is_one_python_and_the_user_not_root() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE)[-1] == "1000:1000"


def test_all_is_installed_with_the_constraints_file() -> None:
    installing = re.findall(r"pip install .*$", TEXT, re.MULTILINE)
    assert len(installing) == 2
    assert all("-c constraints.txt" in command for command in installing)


def test_what_is_copied_is_there_and_let_through() -> None:
    copied = {name for line in re.findall(r"^COPY (.+)$", TEXT, re.MULTILINE) for name in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    # What the wheel is made of.
    assert {"pyproject.toml", "README.md", "LICENSE", "platform", "jobs"} <= copied
