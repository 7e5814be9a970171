"""Runs of tasks and evaluated methods, read back from MLflow alone to be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from refusion.errors import UserError
from refusion.tracking.comparison.files import scores_file
from refusion.tracking.comparison.scores import TRAINED, PictureScores, read_evaluated, read_scores
from refusion.tracking.epochs import epoch_metrics
from refusion.tracking.evaluations import KIND
from refusion.tracking.failures import reason_of
from refusion.tracking.relocation import follow_artifacts
from refusion.tracking.runs import PARENT_TAG, TASK_TAG
from refusion.tracking.settings import recorded_settings_of
from refusion.tracking.store import http_retry_limits, no_progress_bar, redacted, require_store

_TASK_KIND = "task"
_EVALUATED = "scores.csv"
_PAGE = 1000
# A run's own numbers that a comparison reads besides the scores.
COSTS = ("pairs_seen", "time/cpu_seconds", "time/gpu_seconds", "time/training_seconds", "time/validation_seconds")


@dataclass(frozen=True)
class RecordedRun:
    """One task of a job, or one evaluated method.

    Attributes:
        uri, run_id: of the store and the run.
        name: of the job, or of the method; unique among the runs of a task.
        trained: False for an evaluated method.
        status: as MLflow has it, such as FINISHED.
        epoch: the best one, from 1 on; None where nothing was validated, or nothing trained.
        means: of the best epoch, by metric.
        history: a row per epoch, with ``epoch``, metrics and costs; empty for a method.
        scores: of each picture at the best epoch; None for a run that an earlier version recorded.
        settings: dotted.
    """

    uri: str
    run_id: str
    name: str
    task: str
    trained: bool
    status: str
    epoch: int | None
    means: dict[str, float]
    history: pd.DataFrame
    scores: PictureScores | None
    settings: dict[str, str]


def read_runs(
    uri: str,
    experiment: str,
    metrics: Sequence[str],
    names: Sequence[str] | None = None,
    *,
    newest: int | None = None,
    job: str | None = None,
) -> list[RecordedRun]:
    """Reads the runs of an experiment, oldest first.

    Args:
        uri: of the store.
        experiment: its name.
        metrics: those that are read over the epochs.
        names: of jobs, or of evaluated methods; None for all.
        newest: only so many jobs and methods, the newest.
        job: id of a job's run, which counts as the newest; of others only the tasks that it has too.

    Raises:
        UserError: the store cannot be read, or has no such experiment or run.
    """
    require_store(uri)
    follow_artifacts(uri)
    try:
        with http_retry_limits(retries=2, seconds=20):
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise UserError(f"--experiment {experiment!r}: there is none of that name in {redacted(uri)}")
            return _chosen(client, uri, found.experiment_id, experiment, metrics, names, newest, job)
    except MlflowException as error:
        raise UserError(f"the runs cannot be read from {redacted(uri)} ({reason_of(error)})") from error


def _chosen(
    client: MlflowClient,
    uri: str,
    experiment_id: str,
    experiment: str,
    metrics: Sequence[str],
    names: Sequence[str] | None,
    newest: int | None,
    job: str | None,
) -> list[RecordedRun]:
    runs = _search(client, experiment_id)
    parents = {str(run.info.run_id): str(run.info.run_name) for run in runs}
    shown = [run for run in runs if run.data.tags.get("kind") in (_TASK_KIND, KIND)]
    named = {str(run.info.run_id): _name(run, parents) for run in shown}
    if not shown:
        raise UserError(f"--experiment {experiment!r}: has no run of a task yet; train one, or name another")
    unknown = [name for name in names or () if name not in named.values()]
    if unknown:
        known = ", ".join(list(dict.fromkeys(named.values()))[:20])
        raise UserError(f"--runs {unknown[0]}: the experiment {experiment!r} has no such run; there are {known}")
    if job is not None:
        tasks = {run.data.tags[TASK_TAG] for run in shown if run.data.tags.get(PARENT_TAG) == job}
        shown = [run for run in shown if run.data.tags[TASK_TAG] in tasks]
        # The newest is first; sorting keeps the order of the others.
        shown.sort(key=lambda run: run.data.tags.get(PARENT_TAG) != job)
    kept: Collection[str] = names or list(dict.fromkeys(named[str(run.info.run_id)] for run in shown))[:newest]
    chosen = [run for run in reversed(shown) if named[str(run.info.run_id)] in kept]
    only = [*metrics, *COSTS]
    return _unique([_read(client, uri, run, named[str(run.info.run_id)], metrics, only) for run in chosen])


def _search(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Returns all runs, newest first."""
    found: list[Run] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs(
            [experiment_id], max_results=_PAGE, order_by=["attributes.start_time DESC"], page_token=token
        )
        found += page
        token = page.token or ""
    return found


def _name(run: Run, parents: dict[str, str]) -> str:
    tags = run.data.tags
    if tags["kind"] == KIND:
        return str(tags.get("method", run.info.run_name))
    return parents.get(tags.get(PARENT_TAG, ""), str(run.info.run_name))


def _unique(runs: list[RecordedRun]) -> list[RecordedRun]:
    """Returns the runs with a part of their ids in the names that one task has twice."""
    count = Counter((run.task, run.name) for run in runs)
    return [replace(run, name=f"{run.name} {run.run_id[:4]}") if count[run.task, run.name] > 1 else run for run in runs]


def _read(
    client: MlflowClient, uri: str, run: Run, name: str, metrics: Sequence[str], only: Collection[str]
) -> RecordedRun:
    run_id, tags, numbers = str(run.info.run_id), run.data.tags, run.data.metrics
    task, trained = str(tags[TASK_TAG]), tags["kind"] == _TASK_KIND
    if trained:
        scores = read_best(client, run_id, task)
        best = numbers.get("best/epoch")
        epoch = scores.epoch if scores else None if best is None else int(best)
        means = {name: numbers[f"best/{name}"] for name in metrics if f"best/{name}" in numbers}
    else:
        text = _text(client, run_id, _EVALUATED)
        facts = (str(tags.get("convention", "")), str(tags.get("dataset_digest", "")))
        scores = read_evaluated(text, str(tags.get("method", "")), *facts, f"run {name}") if text else None
        epoch, means = None, {name: numbers[name] for name in metrics if name in numbers}
    history = epoch_metrics(uri, run_id, only) if trained else pd.DataFrame(columns=["epoch"])
    settings = recorded_settings_of(run.data.params, tags)
    return RecordedRun(uri, run_id, name, task, trained, str(run.info.status), epoch, means, history, scores, settings)


def read_best(client: MlflowClient, run_id: str, task: str) -> PictureScores | None:
    """Returns the scores of each picture at a run's best epoch; None where an earlier version has kept none.

    Raises:
        UserError: what is kept there is no such table.
        MlflowException: the store is away.
    """
    text = _text(client, run_id, scores_file(task, "best"))
    found = None if text is None else read_scores(text, f"run {run_id}")
    return found if found is not None and TRAINED in found.methods else None


def _text(client: MlflowClient, run_id: str, file: str) -> str | None:
    folder = file.rpartition("/")[0] or None
    if file not in {entry.path for entry in client.list_artifacts(run_id, folder)}:
        return None
    with TemporaryDirectory(prefix="refusion-scores-") as place, no_progress_bar():
        return Path(client.download_artifacts(run_id, file, place)).read_text(encoding="utf-8")
