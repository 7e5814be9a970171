"""Begin of a run in MLflow, which may be done long after the job has begun, and twice, without a second run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import MlflowClient, MlflowException

from refusion.tracking.epochs import NUMBERING
from refusion.tracking.provenance import provenance_tags
from refusion.tracking.runs import (
    INHERITED,
    PARENT_TAG,
    TASK_TAG,
    TOKEN_TAG,
    find_job_run,
    find_task_run,
    reopen_run,
    search_runs,
)
from refusion.tracking.settings import TAG_LIMIT, log_settings, truncate


def description(
    experiment: str,
    run_name: str,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any],
    begun: int,
    *,
    resumed: bool,
    parent: str = "",
    task: str = "",
    varied: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all that begins a run later.

    Args:
        experiment: its name.
        run_name: name of the run.
        settings: nested, see ``log_settings``.
        tags: of the run, besides those of ``provenance_tags``.
        begun: ms since 1970.
        resumed: look for an earlier run of that name first.
        parent: key of the job's run; empty for that itself.
        task: of a run below a job's.
        varied: as in ``settings.shown_params``.
    """
    return {
        "experiment": experiment,
        "run_name": run_name,
        "settings": settings,
        "provenance": provenance_tags(),
        "tags": {name: truncate(str(value), TAG_LIMIT) for name, value in tags.items()},
        "begun": begun,
        "resumed": resumed,
        "parent": parent,
        "task": task,
        "varied": list(varied),
    }


def begin_run(
    client: MlflowClient,
    uri: str,
    experiment_id: str,
    token: str,
    known: str | None,
    parent_id: str | None,
    data: Mapping[str, Any],
) -> str:
    """Creates the run of a description, or reopens the one that is there; returns its id.

    Args:
        client, uri, experiment_id: of the store.
        token: of the entry.
        known: id of the run where an earlier part of the job had begun it.
        parent_id: of the job's run.
        data: the result of ``description``.
    """
    run_id = _of_entry(uri, experiment_id, token)
    if run_id is None:
        run_id = known if known and _is_there(client, experiment_id, known) else None
        if run_id is None and data["resumed"]:
            run_id = _earlier(uri, experiment_id, parent_id, data)
        if run_id is not None:
            reopen_run(uri, run_id, data["settings"], data["tags"])
            return run_id
        below = {} if parent_id is None else _tags_below(client, parent_id, data["task"])
        tags = {**data["provenance"], **below, **data["tags"], **NUMBERING, TOKEN_TAG: token}
        created = client.create_run(experiment_id, data["begun"], tags, data["run_name"])
        run_id = str(created.info.run_id)
    log_settings(client, run_id, data["settings"], data["varied"])
    return run_id


def _of_entry(uri: str, experiment_id: str, token: str) -> str | None:
    found = search_runs(uri, experiment_id, f"tags.`{TOKEN_TAG}` = '{token}'")
    return str(found[0].info.run_id) if found else None


def _is_there(client: MlflowClient, experiment_id: str, run_id: str) -> bool:
    """Tells if a run is in this experiment: a resume may name another one, or another store."""
    try:
        info = client.get_run(run_id).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return bool(info.experiment_id == experiment_id and info.lifecycle_stage == "active")


def _tags_below(client: MlflowClient, parent_id: str, task: str) -> dict[str, str]:
    above = client.get_run(parent_id).data.tags
    inherited = {name: above[name] for name in INHERITED if name in above}
    return {**inherited, TASK_TAG: task, PARENT_TAG: parent_id}


def _earlier(uri: str, experiment_id: str, parent_id: str | None, data: Mapping[str, Any]) -> str | None:
    if parent_id is None:
        return find_job_run(uri, experiment_id, data["run_name"])
    return find_task_run(uri, experiment_id, parent_id, data["task"])
