"""Runs in the home of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refusion.inventory.entries import Entry, entries
from refusion.training.manifest import RunManifest

MakeRun = Callable[..., Path]


def listed() -> dict[str, Entry]:
    """Runs of the home, by name."""
    return {entry.name: entry for entry in entries(RunManifest.default_storage(), "run")}
