"""Provenance tags of every run: code, versions and user."""

from __future__ import annotations

import getpass
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMMIT_TAG = "mlflow.source.git.commit"
SOURCE_TAG = "mlflow.source.name"
USER_TAG = "mlflow.user"
MODIFIED_TAG = "source.modified"
_DISTRIBUTIONS = {"torch": "torch", "ray": "ray", "mlflow": "mlflow", "refusion": "refusion-platform"}


def provenance_tags() -> dict[str, str]:
    """Returns the tags of the running program.

    They are ``mlflow.source.name``, ``mlflow.user``, ``version.*`` and, where the package's source is a git checkout,
    ``mlflow.source.git.commit`` and ``source.modified``.
    """
    tags = {SOURCE_TAG: Path(sys.argv[0] or "python").name, "mlflow.source.type": "LOCAL", USER_TAG: _user()}
    tags["version.python"] = platform.python_version()
    for name in _DISTRIBUTIONS:
        tags[f"version.{name}"] = installed_version(name)
    return tags | git_tags(Path(__file__).resolve().parent)


def installed_version(name: str) -> str:
    """Returns the installed version of a distribution, "unknown" where it is run without being installed."""
    try:
        return version(_DISTRIBUTIONS.get(name, name))
    except PackageNotFoundError:
        return "unknown"


def git_tags(folder: Path) -> dict[str, str]:
    """Returns the commit of the checkout that tracks this folder and a flag for modified files; {} if none does."""
    # A virtual environment inside some other checkout is not that checkout's source.
    if _git(folder, "check-ignore", "--quiet", ".") is not None:
        return {}
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {COMMIT_TAG: commit, MODIFIED_TAG: "true" if changes else "false"}


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns git's output, None if it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the user id of a container may have no name
        return "unknown"
