"""Trained modules as registered models: what each version says about itself, and which one is the best so far."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.entities.logged_model import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.tracking.failures import reason_of
from refusion.tracking.provenance import installed_version
from refusion.tracking.store import (
    http_retry_limits,
    no_progress_bar,
    redacted,
    require_store,
    resolve_tracking_uri,
)

log = logging.getLogger(__name__)

BEST = "best"
LOGGED_NAME = "fusion"
CHECKPOINT = "checkpoint"
MODEL_FILES = ("fusion.safetensors", "settings.yaml")
_CODE = Path(__file__).with_name("logged_model.py")
_REQUIREMENTS = ("torch", "numpy", "safetensors", "pyyaml", "opencv-python-headless")


@dataclass(frozen=True)
class Version:
    """Description of a registered version; each field becomes a tag of that name.

    Attributes:
        score: of ``score_name``, higher is better, computed by ``convention`` on the validation pairs of
            ``dataset_digest``; scores compare only where all three agree.
        data: "builtin" (generated scenes) or "folder" (real pairs).
    """

    task: str
    run_id: str
    epoch: int
    score_name: str
    score: float
    convention: str
    dataset_digest: str
    data: Literal["builtin", "folder"]

    def tags(self) -> dict[str, str]:
        """The fields as MLflow's tags; a float keeps all its digits."""
        return {name: str(value) for name, value in asdict(self).items()}


def registered_name(task: str) -> str:
    """Name of the task's registered model, such as ``refusion-IVIF``."""
    return f"refusion-{task}"


def takes_best(holder: Mapping[str, str] | None, new: Version) -> bool:
    """Returns True where a new version takes the alias ``best`` from the holder, given by its tags or None.

    With equal validation pairs, score and convention the higher score has it. Scores that do not compare leave it to
    the newest, except that generated scenes never displace real pairs. A score that is not a number displaces nothing.
    """
    if holder is None:
        return True
    if new.data == "builtin" and holder.get("data") != "builtin":
        return False
    if math.isnan(new.score):
        return False
    tags = new.tags()
    if any(holder.get(name) != tags[name] for name in ("dataset_digest", "score_name", "convention")):
        return True
    try:
        held = float(holder.get("score", "nan"))
    except ValueError:
        return True
    return math.isnan(held) or new.score > held


def register_version(client: MlflowClient, checkpoint: Path, version: Version, stamp: int | None = None) -> str:
    """Logs the checkpoint's fusion module as a model of its run, registers it, and gives it the alias if it is best.

    Args:
        checkpoint: folder with ``fusion.safetensors`` and ``settings.yaml``.
        stamp: time of the score in ms; that of the run's own metric, so that the same point is not stored twice.

    Returns:
        The version's number.
    """
    run = client.get_run(version.run_id)
    name, tags = registered_name(version.task), version.tags()
    model = client.create_logged_model(
        run.info.experiment_id, LOGGED_NAME, version.run_id, tags, params=run.data.params, model_type="image fusion"
    )
    try:
        with no_progress_bar():
            _write_artifacts(client, model, checkpoint)
    except Exception:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(version.run_id, [LoggedModelOutput(model.model_id, version.epoch)])
    stamp = stamp or time.time_ns() // 1_000_000
    score = Metric(version.score_name, version.score, stamp, version.epoch, model_id=model.model_id)
    client.log_batch(version.run_id, metrics=[score])
    _ensure_registered(client, name)
    # The location, not models:/ID: for that MLflow would ask the process's global store, which may be another one.
    created = client.create_model_version(
        name, model.artifact_location, version.run_id, tags, await_creation_for=0, model_id=model.model_id
    )
    number = str(created.version)
    client.set_logged_model_tags(
        model.model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": number}])}
    )
    if takes_best(_best_tags(client, name), version):
        client.set_registered_model_alias(name, BEST, number)
    return number


def _write_artifacts(client: MlflowClient, model: LoggedModel, checkpoint: Path) -> None:
    requirements = [f"{name}=={installed_version(name).partition('+')[0]}" for name in _REQUIREMENTS]
    requirements.append(f"refusion-platform=={installed_version('refusion')}")
    with tempfile.TemporaryDirectory(prefix="refusion-model-") as folder:
        target = Path(folder) / "model"
        # MLflow stores an artifact under its folder's own name.
        stored = Path(folder) / CHECKPOINT
        stored.mkdir()
        for name in MODEL_FILES:
            shutil.copy2(checkpoint / name, stored)
        mlflow.pyfunc.save_model(
            target,
            python_model=_CODE,
            artifacts={CHECKPOINT: str(stored)},
            pip_requirements=requirements,
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                run_id=model.source_run_id,
                model_uuid=model.model_id,
                model_id=model.model_id,
            ),
        )
        client.log_model_artifacts(model.model_id, str(target))


def _ensure_registered(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _best_tags(client: MlflowClient, name: str) -> dict[str, str] | None:
    best = client.get_registered_model(name).aliases.get(BEST)
    if best is None:
        return None
    try:
        return dict(client.get_model_version(name, str(best)).tags)
    except MlflowException as error:
        # Deleted between the two questions.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def model_checkpoint(uri_of_model: str, tracking_uri: str) -> Path:
    """A local folder with the checkpoint (``fusion.safetensors``, ``settings.yaml``) of a logged or registered model.

    Artifacts that lie on this machine are used where they are; others are downloaded once, into
    ``refusion_home()/cache``.

    Args:
        uri_of_model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/NAME/latest``, ``models:/MODEL_ID``,
            or ``runs:/RUN_ID`` (the newest model of that run; a name after it is taken too).

    Raises:
        UserError: there is no such model in that store, it has no checkpoint of ours, or the store cannot be reached.
    """
    require_store(tracking_uri)
    client = MlflowClient(tracking_uri=tracking_uri)
    try:
        with http_retry_limits(retries=2, seconds=20):
            location = _find_location(client, uri_of_model)
            return _local_checkpoint(location, tracking_uri, uri_of_model)
    except MlflowException as error:
        raise UserError(
            f"there is no model {uri_of_model} in {redacted(tracking_uri)} ({reason_of(error)}): "
            "check its name and --tracking-uri"
        ) from error


def find_checkpoint(checkpoint: str, tracking_uri: str | None = None) -> str | Path:
    """A local path for what ``--checkpoint`` names: MLflow's models are looked up and fetched, paths stay.

    Raises:
        UserError: there is no such model.
    """
    if checkpoint.startswith(("models:", "runs:")):
        return model_checkpoint(checkpoint, resolve_tracking_uri(tracking_uri))
    return checkpoint


def _find_location(client: MlflowClient, uri: str) -> str:
    """Returns the location of the model's artifacts."""
    if match := re.fullmatch(r"runs:/+([\w-]+)(?:/(.+))?", uri):
        return _model_of_run(client, match[1], (match[2] or LOGGED_NAME).rstrip("/")).artifact_location
    if match := re.fullmatch(r"models:/+(m-[0-9a-f]{16,})/?", uri):
        return client.get_logged_model(match[1]).artifact_location
    if match := re.fullmatch(r"models:/+([^/@]+)(?:@([\w-]+)|/(\d+|latest))/?", uri):
        return client.get_model_version_download_uri(match[1], _number(client, *match.groups()))
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
    place = f"{location}/artifacts/{CHECKPOINT}"
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
