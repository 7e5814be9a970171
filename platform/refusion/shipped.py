"""Trained modules that come along with the package, one folder per task, each with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from refusion.checksums import sha256
from refusion.errors import UserError
from refusion.tasks import TASKS, TaskName, find_task

PRETRAINED = "pretrained"
"""Name of the module that comes along for a task, wherever a checkpoint is asked for."""

FUSION_FILE, LOSS_PROPOSAL_FILE = "fusion.safetensors", "loss_proposal.safetensors"
WEIGHT_SUFFIXES = (".pth.tar", ".pth", ".pt", ".ckpt", ".safetensors")
"""Ends of the names of weight files as they are passed around, in lower case."""

SETTINGS_FILE, CARD_FILE, GOLDEN_FILE = "settings.yaml", "card.yaml", "golden.yaml"

_FOLDER = Path(__file__).resolve().parent / PRETRAINED


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_Part):
    """Mean of a metric over the pairs, and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


class Scores(_Part):
    """Scores of a module.

    Attributes:
        data: name of the pairs that were scored.
        pairs: number of them.
        convention: definitions of the metrics.
        metrics: by name.
    """

    data: str
    pairs: int
    convention: str
    metrics: dict[str, Score]


class Card(_Part):
    """Facts about a module that comes along, as its ``card.yaml`` holds them.

    Attributes:
        task: name of the fusion task.
        data, terms: pairs that it was trained on, and the terms of use of those.
        command: training, as it was called.
        seed: of the training.
        machine: processors that trained it.
        wall_time: of the training.
        version, commit: of the package that trained it.
        stored_as: type of the stored numbers; computations are in float32.
        parameters: number of them, by module.
        scores: of the trained module; those of the stored one agree with them to three digits.
        files: SHA-256 digests of the other files, by name.
    """

    task: TaskName
    data: str
    terms: str
    command: str
    seed: int
    machine: str
    wall_time: str
    version: str
    commit: str
    stored_as: str
    parameters: dict[str, int]
    scores: Scores
    files: dict[str, str]


def shipped_tasks() -> list[str]:
    """Returns the names of the tasks whose trained module comes along."""
    return [task for task in TASKS if (_FOLDER / task / CARD_FILE).is_file()]


def shipped_folder(task: str) -> Path:
    """Returns the folder of a task's trained module, whose files are those that its card speaks of.

    Raises:
        UserError: there is no such task, no module of it comes along, or its files are damaged.
    """
    name = find_task(task).name
    folder = _FOLDER / name
    if name not in shipped_tasks():
        known = ", ".join(shipped_tasks()) or "none"
        raise UserError(
            f"no trained module of {name} comes along with this version (there are: {known}): train one by "
            f"jobs/train_all_tasks.py --tasks {name}, and give its folder, RUN/{name}/best, as --checkpoint"
        )
    for file, digest in read_card(folder).files.items():
        if not (folder / file).is_file() or sha256(folder / file) != digest:
            raise UserError(f"{folder / file}: is not the file that {CARD_FILE} describes; install the package anew")
    return folder


def read_card(folder: Path) -> Card:
    """Reads the card in a folder.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / CARD_FILE
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Card.model_validate(content)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no card of a trained module ({reason})") from error
