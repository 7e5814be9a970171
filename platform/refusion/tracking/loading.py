"""Trained modules from anywhere: a checkpoint's folder or file, a weight file of the authors', or MLflow's models."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import nn

from refusion import fuse
from refusion.errors import UserError
from refusion.shipped import PRETRAINED, shipped_folder
from refusion.tracking.registry import find_checkpoint


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
    if str(checkpoint) != PRETRAINED:
        return Path(find_checkpoint(str(checkpoint), tracking_uri))
    if task is None:
        raise UserError(f"{PRETRAINED}: a module comes along for each task; say which, such as task='IVIF'")
    return shipped_folder(task)
