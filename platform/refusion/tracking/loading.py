"""Trained modules from anywhere: a checkpoint's folder or file, a weight file of the authors', or MLflow's models."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities.logged_model import LoggedModel
from mlflow.exceptions import MlflowException
from torch import nn

from refusion import fuse
from refusion.buckets.filesystem import is_in_s3
from refusion.buckets.staging import staged
from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.shipped import CARD_FILE, PRETRAINED, shipped_folder
from refusion.tracking.failures import reason_of
from refusion.tracking.models.logging import CHECKPOINT
from refusion.tracking.models.version import MODEL_FILES, origin
from refusion.tracking.registry import LOGGED_NAME
from refusion.tracking.relocation import followed_place
from refusion.tracking.store import http_retry_limits, redacted, require_store, resolve_tracking_uri


@dataclass(frozen=True)
class FoundModel:
    """A model's checkpoint folder on this machine, and in words which model it is.

    ``folder`` holds ``fusion.safetensors`` and ``settings.yaml``.
    """

    folder: Path
    about: str


def load_module(
    checkpoint: str | Path,
    *,
    task: str | None = None,
    tracking_uri: str | None = None,
    trust_code: bool | Collection[str] = False,
) -> nn.Module:
    """Loads a trained fusion module, on the CPU and in evaluation mode.

    Args:
        checkpoint: what ``--checkpoint`` takes: a checkpoint folder or the ``fusion.safetensors`` in it, a file of
            weights such as the authors' ``.pth`` files, an MLflow model as ``models:/NAME@ALIAS``,
            ``models:/NAME/VERSION`` or ``runs:/RUN_ID``, or ``pretrained`` for the module that comes with the package.
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
        path = _staged(text) if is_in_s3(text) else Path(text)
        return FoundModel(path, ", ".join([text, *_measured(path.expanduser())]))
    if task is None:
        raise UserError(f"{PRETRAINED}: a module comes along for each task; say which, such as task='IVIF'")
    folder = shipped_folder(task)
    return FoundModel(folder, f"the module that comes along for {task} ({folder / CARD_FILE} says what it is)")


def _staged(uri: str) -> Path:
    """Returns what lies in an object store, on this machine; the weights of a checkpoint of ours among its files."""
    uri = uri.rstrip("/")
    folder, _, name = uri.rpartition("/")
    return staged(folder, "--checkpoint") / name if name == MODEL_FILES[0] else staged(uri, "--checkpoint")


def _measured(checkpoint: Path) -> list[str]:
    """Returns epoch and score of a checkpoint of a training, as far as its files say: to fuse, neither is needed."""
    folder = checkpoint.parent if checkpoint.is_file() else checkpoint
    try:
        numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        name = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))["validation"]["best_by"]
        return [f"epoch {int(numbers['epoch'])} ({name} {float(numbers[name]):.4f})"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


@dataclass(frozen=True)
class _Place:
    location: str
    name: str
    tags: Mapping[str, str]


def find_model(uri_of_model: str, tracking_uri: str | None = None) -> FoundModel:
    """Finds a logged or registered model.

    Artifacts that lie on this machine are used where they are; others are downloaded once, into
    ``refusion_home()/cache``.

    Args:
        uri_of_model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/NAME/latest``, ``models:/MODEL_ID``,
            or ``runs:/RUN_ID`` (the newest model of that run; a name after it is taken too).
        tracking_uri: MLflow's store; default ``MLFLOW_TRACKING_URI``, or the local one.

    Raises:
        UserError: there is no such model in that store, it has no checkpoint of ours, or the store cannot be reached.
    """
    store = resolve_tracking_uri(tracking_uri)
    require_store(store)
    client = MlflowClient(tracking_uri=store)
    try:
        with http_retry_limits(retries=2, seconds=20):
            place = _find(client, uri_of_model)
            folder = _local_checkpoint(place.location, store, uri_of_model)
            return FoundModel(folder, ", ".join(text for text in (place.name, origin(place.tags)) if text))
    except MlflowException as error:
        raise UserError(
            f"there is no model {uri_of_model} in {redacted(store)} ({reason_of(error)}): "
            "check its name and --tracking-uri"
        ) from error


def _find(client: MlflowClient, uri: str) -> _Place:
    if match := re.fullmatch(r"runs:/+([\w-]+)(?:/(.+))?", uri):
        model = _model_of_run(client, match[1], (match[2] or LOGGED_NAME).rstrip("/"))
        return _Place(model.artifact_location, f"model {model.model_id}", model.tags)
    if match := re.fullmatch(r"models:/+(m-[0-9a-f]{16,})/?", uri):
        model = client.get_logged_model(match[1])
        return _Place(model.artifact_location, f"model {model.model_id}", model.tags)
    if match := re.fullmatch(r"models:/+([^/@]+)(?:@([\w-]+)|/(\d+|latest))/?", uri):
        number = _number(client, *match.groups())
        version = client.get_model_version(match[1], number)
        location = client.get_model_version_download_uri(match[1], number)
        return _Place(location, f"{match[1]} version {number}", version.tags)
    raise UserError(
        f"{uri!r} is no model address: write models:/NAME@best, models:/NAME/VERSION, models:/MODEL_ID or runs:/RUN_ID"
    )


def _number(client: MlflowClient, name: str, alias: str | None, number: str | None) -> str:
    if alias:
        return str(client.get_model_version_by_alias(name, alias).version)
    if number != "latest":
        return str(number)
    versions = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
    if not versions:
        raise UserError(f"there is no registered model {name!r}: `mlflow ui` lists those that exist")
    return str(versions[0].version)


def _model_of_run(client: MlflowClient, run_id: str, name: str) -> LoggedModel:
    run = client.get_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    for step in sorted({output.step for output in outputs}, reverse=True):
        models = [client.get_logged_model(output.model_id) for output in outputs if output.step == step]
        named = [model for model in models if model.name == name]
        if named:
            # A task that was restarted may have written the same epoch twice.
            return max(named, key=lambda model: model.creation_timestamp)
    raise UserError(f"the run {run_id} has no logged model {name!r}: give a task's run that has written one")


def _local_checkpoint(location: str, tracking_uri: str, uri: str) -> Path:
    place = f"{followed_place(location, tracking_uri)}/artifacts/{CHECKPOINT}"
    cached = refusion_home() / "cache" / "models" / hashlib.sha256(location.encode()).hexdigest()[:32]
    if place.startswith(("file:", "/")):
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=place, tracking_uri=tracking_uri))
    elif cached.is_dir():
        found = cached
    else:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            got = mlflow.artifacts.download_artifacts(artifact_uri=place, dst_path=folder, tracking_uri=tracking_uri)
            found = _keep(Path(got), cached)
    if not all((found / name).is_file() for name in MODEL_FILES):
        raise UserError(f"{uri} was not logged by this platform: it has no {' and '.join(MODEL_FILES)}")
    return found


def _keep(got: Path, cached: Path) -> Path:
    try:
        got.replace(cached)
    except OSError:
        # Another process has downloaded the same model in the meantime.
        if not cached.is_dir():
            raise
    return cached
