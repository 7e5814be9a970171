"""Trained modules as registered models: one version per run, and the alias of the best so far."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from refusion.tracking.epochs import REGISTERED, epoch_of, step_of
from refusion.tracking.failures import reason_of
from refusion.tracking.models.logging import logged_model
from refusion.tracking.models.version import Version, origin, registered_name, takes_best
from refusion.tracking.runs import TOKEN_TAG

log = logging.getLogger(__name__)

# The best so far, and the newest that was registered.
BEST, CANDIDATE = "best", "candidate"
LOGGED_NAME = "fusion"


def _description(version: Version, tags: Mapping[str, str]) -> str:
    scores = ", ".join(f"{name} {score:.4f}" for name, score in version.scores.items())
    pairs = "built-in scenes, for trying out only" if version.data == "builtin" else "pairs of a folder"
    return (
        f"{origin(tags)}, the best of its run so far by {version.score_name}. Means over {version.pairs} val pairs "
        f"({pairs}, digest {version.dataset_digest[:12]}), convention {version.convention}: {scores}. "
        "Only scores over the same pairs compare."
    )


def _has_another(client: MlflowClient, version: Version, step: int) -> bool:
    """Returns true where the run's own score of that epoch is another one, as of a sweep's trial: of fewer pairs."""
    history = client.get_metric_history(version.run_id, version.score_name)
    return any(point.step == step and point.value != version.score for point in history)


def register_version(
    client: MlflowClient,
    checkpoint: Path,
    version: Version,
    stamp: int | None = None,
    token: str = "",
    *,
    again: bool = False,
) -> str:
    """Logs the checkpoint's fusion module as a model of its run, registers it, and gives it the alias if it is best.

    Args:
        checkpoint: folder with ``fusion.safetensors`` and ``settings.yaml``.
        stamp: time of the score in ms; that of the run's own metric, so that the same point is not stored twice.
        token: of what is registered, so that another attempt finds how far the one before came.
        again: there may have been such an attempt.

    Returns:
        The version's number.
    """
    run = client.get_run(version.run_id)
    name, tags = registered_name(version.task), version.tags() | {"run_name": str(run.info.run_name)}
    if token:
        tags |= {TOKEN_TAG: token}
    step = step_of(version.epoch, run.data.tags)
    model = logged_model(client, run, LOGGED_NAME, checkpoint, tags, token if again else "")
    logged = run.outputs.model_outputs if run.outputs else []
    if not any(output.model_id == model.model_id for output in logged):
        client.log_outputs(version.run_id, [LoggedModelOutput(model.model_id, step)])
    stamp = stamp or time.time_ns() // 1_000_000
    prefix = REGISTERED if _has_another(client, version, step) else ""
    metrics = [
        Metric(prefix + metric, score, stamp, step, model_id=model.model_id) for metric, score in version.scores.items()
    ]
    client.log_batch(version.run_id, metrics=metrics)
    _ensure_registered(client, name, version.task)
    # The location, not models:/ID: for that MLflow would ask the process's global store, which may be another one.
    number = _registered_before(client, name, version.run_id, token if again else "") or str(
        client.create_model_version(
            name,
            model.artifact_location,
            version.run_id,
            tags,
            description=_description(version, tags),
            await_creation_for=0,
            model_id=model.model_id,
        ).version
    )
    client.set_logged_model_tags(
        model.model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": number}])}
    )
    client.set_registered_model_alias(name, CANDIDATE, number)
    if takes_best(_best_tags(client, name), version):
        client.set_registered_model_alias(name, BEST, number)
    for earlier in versions_of_run(client, name, version.run_id):
        if earlier != number:
            client.delete_model_version(name, earlier)
    return number


def _registered_before(client: MlflowClient, name: str, run_id: str, token: str) -> str | None:
    if not token:
        return None
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return next((str(one.version) for one in found if one.tags.get(TOKEN_TAG) == token), None)


def is_registered(client: MlflowClient, version: Version) -> bool:
    """Tells if a run's registered version is of this epoch or a later one."""
    query = f"name = '{registered_name(version.task)}' and run_id = '{version.run_id}'"
    return any(
        epoch_of(int(one.tags["epoch"]), one.tags) >= version.epoch
        for one in client.search_model_versions(query)
        if "epoch" in one.tags
    )


def versions_of_run(client: MlflowClient, name: str, run_id: str) -> list[str]:
    """Returns the numbers of a run's registered versions, the newest first."""
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'", order_by=["version_number DESC"])
    return [str(version.version) for version in found]


def registered_as(uri: str, task: str, run_id: str) -> str:
    """Returns in words as which version a run's best epoch is registered; empty where none is, or the store is away."""
    name = registered_name(task)
    client = MlflowClient(tracking_uri=uri)
    try:
        numbers = versions_of_run(client, name, run_id)
        if not numbers:
            return ""
        best = str(client.get_registered_model(name).aliases.get(BEST, ""))
        if best == numbers[0]:
            return f"models:/{name}/{numbers[0]}, which is also models:/{name}@{BEST}"
        held = origin(client.get_model_version(name, best).tags) if best else ""
    except (MlflowException, OSError, SQLAlchemyError) as error:
        log.warning("MLflow's store is away (%s)", reason_of(error))
        return ""
    return f"models:/{name}/{numbers[0]}; models:/{name}@{BEST} stays version {best}, {held}".rstrip(", ")


def _ensure_registered(client: MlflowClient, name: str, task: str) -> None:
    description = (
        f"Fusion modules for {task}: one version per run, its best epoch; `{BEST}`, `{CANDIDATE}`: see docs/mlflow.md."
    )
    try:
        client.create_registered_model(name, description=description)
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
