from __future__ import annotations

import subprocess
from pathlib import Path

import mlflow
import pytest

from refusion.tracking import provenance
from refusion.tracking.provenance import git_tags, installed_version, provenance_tags


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_changes_of_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "platform" / "refusion"
    package.mkdir(parents=True)
    (package / "code.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("venv\n")
    (tmp_path / "venv").mkdir()
    _git(tmp_path, "init", "-q")
    assert git_tags(package) == {}
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert git_tags(package) == {"mlflow.source.git.commit": commit, "source.modified": "false"}
    (package / "code.py").write_text("a = 2\n")
    assert git_tags(package)["source.modified"] == "true"
    assert git_tags(tmp_path / "venv") == {}


def test_no_checkout_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_tags(tmp_path) == {}
    monkeypatch.setenv("PATH", "")
    assert git_tags(tmp_path) == {}


def test_tags_name_versions_source_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance.sys, "argv", ["/somewhere/jobs/train_all_tasks.py", "--gpu"])
    monkeypatch.setenv("LOGNAME", "ada")
    tags = provenance_tags()
    assert tags["mlflow.source.name"] == "train_all_tasks.py"
    assert tags["mlflow.user"] == "ada"
    assert tags["version.mlflow"] == mlflow.__version__
    assert {f"version.{name}" for name in ("python", "torch", "ray", "refusion")} <= set(tags)
    assert installed_version("no-such-distribution") == "unknown"
