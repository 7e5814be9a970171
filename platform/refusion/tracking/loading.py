"""Trained modules from anywhere: a checkpoint's folder or file, a weight file of the authors', or MLflow's models."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import yaml
from torch import nn

from refusion import fuse
from refusion.errors import UserError
from refusion.shipped import CARD_FILE, PRETRAINED, shipped_folder
from refusion.tracking.models import FoundModel, find_model


def load_module(
    checkpoint: str | Path,
    *,
    task: str | None = None,
    tracking_uri: str | None = None,
    trust_code: bool | Collection[str] = False,
) -> nn.Module:
    """Loads a trained fusion module, on the CPU and in evaluation mode.

    Args:
        checkpoint: what ``--checkpoint`` takes: a checkpoint folder or the ``fusion.safetensors`` in it, one of the
            authors' ``.pth`` files, an MLflow model as ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or
            ``runs:/RUN_ID``, or ``pretrained`` for the module that comes along for the task.
        task: name of that task; needed for ``pretrained`` only.
        tracking_uri: MLflow's store; default ``MLFLOW_TRACKING_URI``, or the local one.
        trust_code: whether code from outside of this package may be run where the checkpoint names such a network:
            true for any, or the import paths that may be.

    Raises:
        UserError: there is no such checkpoint or model, or it names code that is not trusted.

    >>> load_module("nowhere/IVIF/final")
    Traceback (most recent call last):
    refusion.errors.UserError: nowhere/IVIF/final: there is no fusion.safetensors; give a checkpoint folder ...
    """
    return fuse.load_module(local_checkpoint(checkpoint, task, tracking_uri), trust_code=trust_code)


def local_checkpoint(checkpoint: str | Path, task: str | None = None, tracking_uri: str | None = None) -> Path:
    """Returns the path on this machine of what ``--checkpoint`` names, which is not looked into; as `load_module`.

    Raises:
        UserError: there is no such model, or none comes along for the task.
    """
    return find_checkpoint(checkpoint, task, tracking_uri).folder


def find_checkpoint(checkpoint: str | Path, task: str | None = None, tracking_uri: str | None = None) -> FoundModel:
    """Finds what ``--checkpoint`` names, as `local_checkpoint`, and says which version, run and epoch it is.

    Raises:
        UserError: there is no such model, or none comes along for the task.
    """
    text = str(checkpoint)
    if text.startswith(("models:", "runs:")):
        return find_model(text, tracking_uri)
    if text != PRETRAINED:
        path = Path(text)
        return FoundModel(path, ", ".join([text, *_measured(path.expanduser())]))
    if task is None:
        raise UserError(f"{PRETRAINED}: a module comes along for each task; say which, such as task='IVIF'")
    folder = shipped_folder(task)
    return FoundModel(folder, f"the module that comes along for {task} ({folder / CARD_FILE} says what it is)")


def _measured(checkpoint: Path) -> list[str]:
    """Returns epoch and score of a checkpoint of a training, as far as its files say: to fuse, neither is needed."""
    folder = checkpoint.parent if checkpoint.is_file() else checkpoint
    try:
        numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        name = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))["validation"]["best_by"]
        return [f"epoch {int(numbers['epoch'])} ({name} {float(numbers[name]):.4f})"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []
