"""Runs of a job and of its tasks: started, found again, reopened, summarised, finished.

These functions raise what MLflow raises: they are called before and after training. Writes during training
go through ``recorder.TaskRecorder``, which survives an unreachable store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from refusion.tracking.epochs import NUMBERING, epoch_of
from refusion.tracking.provenance import COMMIT_TAG, MODIFIED_TAG, SOURCE_TAG, USER_TAG, provenance_tags
from refusion.tracking.settings import TAG_LIMIT, log_settings, truncate

Status = Literal["FINISHED", "FAILED", "KILLED"]
PARENT_TAG = "mlflow.parentRunId"
TASK_TAG = "task"
ERROR_TAG = "error"
STORAGE_TAG = "storage"
# Of the entry that has begun a run or logged a model, so that it is found where the answer to its request was lost.
TOKEN_TAG = "entry"
INHERITED = (COMMIT_TAG, MODIFIED_TAG, SOURCE_TAG, USER_TAG, "mlflow.source.type")


def start_job_run(
    uri: str, experiment_id: str, run_name: str, params: Mapping[str, Any], tags: Mapping[str, Any]
) -> str:
    """Creates a job's (or a sweep's) parent run and returns its id.

    Args:
        uri, experiment_id: of the store.
        run_name: name of the run.
        params: nested settings, written as ``log_settings`` does.
        tags: added to those of ``provenance_tags``, which they override.
    """
    client = MlflowClient(tracking_uri=uri)
    run_id = _create(client, experiment_id, run_name, provenance_tags() | dict(tags))
    return _with_settings(client, run_id, params)


def start_task_run(
    uri: str,
    experiment_id: str,
    parent_run_id: str,
    task: str,
    run_name: str,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any] | None = None,
    *,
    which: Mapping[str, Any] | None = None,
    varied: Sequence[str] = (),
) -> str:
    """Returns the id of the run of a task (or a trial) below its parent: reopened if it exists, else created.

    One parent has one run of each task and of each ``which``. User, source and commit are the parent's (the calling
    process is a worker of Ray), the versions are this process's own.

    Args:
        uri, experiment_id, parent_run_id, task, run_name: of the run.
        settings: nested; see ``log_settings``, also for those that a resume has changed.
        tags: further tags.
        which: further tags, which tell runs of one task below one parent apart, such as a trial's number.
        varied: as in ``settings.shown_params``.
    """
    client = MlflowClient(tracking_uri=uri)
    tags = {**(tags or {}), **(which or {})}
    run_id = find_task_run(uri, experiment_id, parent_run_id, task, which)
    if run_id is not None:
        reopen_run(uri, run_id, settings, tags)
        return run_id
    inherited = {name: tag for name, tag in client.get_run(parent_run_id).data.tags.items() if name in INHERITED}
    own = {TASK_TAG: task, PARENT_TAG: parent_run_id}
    run_id = _create(client, experiment_id, run_name, provenance_tags() | inherited | tags | own)
    return _with_settings(client, run_id, settings, varied)


def _with_settings(client: MlflowClient, run_id: str, settings: Mapping[str, Any], varied: Sequence[str] = ()) -> str:
    """Writes the settings of a new run; one that is interrupted meanwhile must not stay open, since nobody knows it."""
    try:
        log_settings(client, run_id, settings, varied)
    except BaseException as error:
        client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    return run_id


def _create(client: MlflowClient, experiment_id: str, run_name: str, tags: Mapping[str, Any]) -> str:
    texts = {name: truncate(str(value), TAG_LIMIT) for name, value in {**tags, **NUMBERING}.items()}
    return str(client.create_run(experiment_id, tags=texts, run_name=run_name).info.run_id)


def reopen_run(
    uri: str, run_id: str, settings: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None
) -> None:
    """Sets a run to running again; ``settings`` as in ``start_task_run``, ``tags`` replace those of that name."""
    client = MlflowClient(tracking_uri=uri)
    client.update_run(run_id, status="RUNNING")
    # Of what stopped it before.
    if ERROR_TAG in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, ERROR_TAG)
    log_settings(client, run_id, settings or {})
    for name, value in (tags or {}).items():
        client.set_tag(run_id, name, truncate(str(value), TAG_LIMIT))


def close_abandoned(uri: str, experiment_id: str, is_abandoned: Callable[[str], bool]) -> list[str]:
    """Closes, as killed, jobs' and sweeps' runs that say they are running though their job is gone; with all below.

    Args:
        uri, experiment_id: of the store.
        is_abandoned: tells so of the folder in which a job keeps its run.

    Returns:
        Their names.
    """
    client = MlflowClient(tracking_uri=uri)
    closed = []
    running = search_runs(uri, experiment_id, "attributes.status = 'RUNNING'")
    for run in running:
        folder = run.data.tags.get(STORAGE_TAG)
        if PARENT_TAG in run.data.tags or folder is None or not is_abandoned(folder):
            continue
        for below in running:
            if below.data.tags.get(PARENT_TAG) == run.info.run_id:
                client.set_terminated(below.info.run_id, "KILLED")
        client.set_terminated(run.info.run_id, "KILLED")
        closed.append(str(run.info.run_name))
    return closed


def find_job_run(uri: str, experiment_id: str, run_name: str) -> str | None:
    """Returns the newest run of that name that has no parent, or None."""
    found = search_runs(uri, experiment_id, f"attributes.run_name = {_quoted(run_name)}")
    return next((run.info.run_id for run in found if PARENT_TAG not in run.data.tags), None)


def find_task_run(
    uri: str, experiment_id: str, parent_run_id: str, task: str, which: Mapping[str, Any] | None = None
) -> str | None:
    """Returns the newest run of that task below that parent with those tags, or None."""
    tags = {PARENT_TAG: parent_run_id, TASK_TAG: task, **(which or {})}
    query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return next((run.info.run_id for run in search_runs(uri, experiment_id, query)), None)


def search_runs(uri: str, experiment_id: str, query: str) -> Sequence[Run]:
    """Returns the runs of an experiment that MLflow's query finds, the newest first."""
    newest = ["attributes.start_time DESC"]
    client = MlflowClient(tracking_uri=uri)
    found: Sequence[Run] = client.search_runs(
        [experiment_id], query, run_view_type=ViewType.ACTIVE_ONLY, order_by=newest
    )
    return found


def _quoted(text: str) -> str:
    # MLflow's filters know both quotes and no escape.
    return f'"{text}"' if "'" in text else f"'{text}'"


def recorded_epochs(uri: str, run_id: str, metric: str) -> set[int]:
    """Returns the epochs (from 1) at which a task's or trial's run has a value of that metric."""
    client = MlflowClient(tracking_uri=uri)
    tags = client.get_run(run_id).data.tags
    return {epoch_of(point.step, tags) for point in client.get_metric_history(run_id, metric)}


def log_text(uri: str, run_id: str, text: str, file: str) -> None:
    """Writes a text as the artifact ``file`` (such as ``summary.md``), replacing an older one."""
    MlflowClient(tracking_uri=uri).log_text(run_id, text, file)
