"""Tiny modules that come along in the place of the package's own, for tests of what uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion import shipped
from refusion.checksums import sha256
from refusion.config.layers import check
from refusion.meta.state import TrainingState
from refusion.shipped import CARD_FILE, Card, Score, Scores
from refusion.training.checkpoints import save_checkpoint

TINY = {"network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8}, "images": {"crop": 16}}


def tiny_checkpoint(folder: Path, task: str = "IVIF", **settings: Any) -> Path:
    """A checkpoint of tiny modules with random weights; ``settings`` are laid over tiny ones."""
    folder.mkdir(parents=True)
    chosen = check([TINY, {"network": {"start": "random"}}, settings])
    save_checkpoint(folder, TrainingState(chosen, task), chosen, task, {})
    return folder


def card_of(folder: Path, task: str) -> Card:
    """A card with the digests of the folder's files."""
    return Card(
        task=task,
        data="pairs",
        terms="none",
        command="none",
        seed=0,
        machine="a machine",
        wall_time="0:00:01",
        version="0",
        commit="0",
        stored_as="float32",
        parameters={},
        scores=Scores(data="pairs", pairs=1, convention="authors", metrics={"Qabf": Score(mean=0, low=0, high=0)}),
        files={path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()},
    )


def ship_tiny(place: Path, patch: pytest.MonkeyPatch, task: str = "IVIF", **settings: Any) -> Path:
    """Makes the package ship a tiny module of one task, in ``place``; returns its folder."""
    folder = tiny_checkpoint(place / task, task, **settings)
    (folder / CARD_FILE).write_text(yaml.safe_dump(card_of(folder, task).model_dump()), encoding="utf-8")
    patch.setattr(shipped, "_FOLDER", place)
    return folder
