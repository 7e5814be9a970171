"""Checkpoint folders: weights as safetensors, progress as tensors only, settings as YAML. Nothing is unpickled."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from refusion.checksums import check_checksums, write_checksums
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.state import TrainingState
from refusion.networks.weight_files import read_safetensors
from refusion.runtime.storage import Folder

SETTINGS_FILE = "settings.yaml"
STATE_FILE = "state.pt"
METRICS_FILE = "metrics.json"
PICTURES = "pictures"
# Of each validated picture; see tracking.comparison.scores.
SCORES_FILE = "scores.csv"
# The kept epochs of a run are folders epoch_00001, epoch_00002, …
EPOCH = "epoch_"


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    settings: Settings,
    task: str,
    metrics: dict[str, float],
) -> None:
    """Write a whole checkpoint into an existing folder.

    Those that are in the folder already, such as pictures, belong to it too.

    Files: ``fusion.safetensors``, ``loss_proposal.safetensors``, ``reconstruction.safetensors``, ``state.pt``,
    ``settings.yaml`` (the settings and the task), ``metrics.json`` (what was measured at this point, with the number of
    finished ``epoch``s) and ``SHA256SUMS`` of all of them.
    """
    for name, module in state.modules().items():
        # Parameters that a module uses twice share their memory, which safetensors refuses to write.
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
        safetensors.torch.save_file(weights, str(folder / f"{name}.safetensors"))
    torch.save(state.progress(), folder / STATE_FILE)
    content = {"task": task, **settings.model_dump(mode="json")}
    (folder / SETTINGS_FILE).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (folder / METRICS_FILE).write_text(json.dumps({"epoch": state.epoch, **metrics}, indent=1), encoding="utf-8")
    write_checksums(folder)


def load_checkpoint(folder: Path, state: TrainingState) -> None:
    """Put a checkpoint's weights and progress into ``state``, which must be of the same settings.

    Raises:
        UserError: a file is missing or damaged, its shapes are those of other settings, or a weight is not finite.
    """
    check_checksums(folder, whole=True)
    for name, module in state.modules().items():
        path = folder / f"{name}.safetensors"
        try:
            module.load_state_dict(read_safetensors(path))
        except RuntimeError as error:
            raise UserError(f"{path}: is no checkpoint of these settings ({_first_line(error)})") from error
    path = folder / STATE_FILE
    progress = _read_progress(path)
    try:
        state.load_progress(progress)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: is no progress of these settings ({_first_line(error)})") from error
    if not state.is_finite():
        raise UserError(f"{folder}: its weights are not finite numbers; take another checkpoint")


def check_readable(folder: Path) -> None:
    """Check that every file of a checkpoint can be read, also of one that has no checksums; builds no module.

    Raises:
        UserError: names the file that cannot.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            weights = safetensors.torch.load_file(str(path))
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{path}: cannot be read ({_first_line(error)}); take another checkpoint") from error
        for name, weight in weights.items():
            if not torch.isfinite(weight).all():
                raise UserError(f"{path}: {name} holds numbers that are not finite; take another checkpoint")
    _read_progress(folder / STATE_FILE)
    for path, read in ((folder / SETTINGS_FILE, yaml.safe_load), (folder / METRICS_FILE, json.loads)):
        try:
            content = read(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{path}: cannot be read ({_first_line(error)}); take another checkpoint") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: is damaged; take another checkpoint")


def _read_progress(path: Path) -> dict[str, Any]:
    try:
        progress: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: is damaged, or holds more than tensors and plain values") from error
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({_first_line(error)})") from error
    return progress


def saved_best_by(folder: Path) -> str:
    """Returns the metric that chose the best epoch when the checkpoint was written."""
    settings: dict[str, Any] = yaml.safe_load((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    return str(settings["validation"]["best_by"])


def read_metrics(folder: Path) -> dict[str, float]:
    """Reads what was measured when the checkpoint was written, with its ``epoch``; empty where nothing was."""
    path = folder / METRICS_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def measured(checkpoint: Folder) -> dict[str, float]:
    """Reads what was measured, as `read_metrics`, of a checkpoint anywhere; ``epoch`` is among it where it is there."""
    file = checkpoint / METRICS_FILE
    numbers: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    if numbers and "epoch" not in numbers:
        # Written before the numbers said so; the counters know.
        progress = torch.load(io.BytesIO((checkpoint / STATE_FILE).read_bytes()), map_location="cpu", weights_only=True)
        numbers["epoch"] = int(progress["epoch"])
    return numbers


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
