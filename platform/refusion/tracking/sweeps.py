"""Sweeps in MLflow: a parent run, one child run per trial; written here by the sweep, read by its report.

The functions that start runs raise what MLflow raises, as those of ``runs`` do. What is written while trials train
goes through ``recorder.TaskRecorder``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run, RunTag
from sqlalchemy.exc import SQLAlchemyError

from refusion.errors import UserError
from refusion.tracking.epochs import BASELINE, REGISTERED, epoch_of
from refusion.tracking.failures import reason_of
from refusion.tracking.runs import PARENT_TAG, log_text, reopen_run, start_job_run, start_task_run
from refusion.tracking.settings import json_tag, read_json_tag
from refusion.tracking.store import http_retry_limits, no_progress_bar, redacted, require_store

KIND_TAG, SWEEP = "kind", "sweep"
TRIAL_TAG, VALUES_TAG, ENDED_TAG, LINEAGE_TAG, BEST_TAG = "trial", "values", "ended", "lineage", "best_trial"
SPEC_FILE, BEST_FILE, COMPARISON_FILE = "sweep.yaml", "best.yaml", "comparison.json"
RUNNING, SYSTEM = "running", "system/"
_PAGE = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedTrial:
    """One trial as it was recorded.

    Attributes:
        number: 0 is the default settings.
        run_id: its run in MLflow.
        values: of the searched parameters, the active ones only, as they were at the end.
        ended: ``finished``, ``stopped``, ``diverged: …``, ``failed: …``, ``interrupted`` or ``running``.
        lineage: ``{"epoch": e, "from": number or None, "values": {…}}`` per change of values; the first has epoch 0.
        history: from the number of finished epochs (from 1) to the metrics by name, without those of the machine.
        seconds: from the run's start to its end (or last number), times in which the trial was paused included.
    """

    number: int
    run_id: str
    values: dict[str, Any]
    ended: str
    lineage: list[dict[str, Any]]
    history: dict[int, dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep as it was recorded in the store ``uri``.

    ``spec`` is what ``start_sweep_run`` was given, trials rise by number.
    """

    name: str
    run_id: str
    spec: dict[str, Any]
    tags: dict[str, str]
    trials: list[RecordedTrial]
    best_yaml: str | None
    comparison: dict[str, Any] | None
    uri: str = ""


def start_sweep_run(
    uri: str,
    experiment_id: str,
    name: str,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any],
    spec: Mapping[str, Any],
    *,
    resumed: bool = False,
) -> str:
    """The id of a sweep's parent run: a new one, or, of a resumed sweep, the newest of that name, reopened.

    Args:
        settings: the base settings, nested.
        tags: such as task, searcher, scheduler, objective, storage; ``kind`` and ``convention`` are added.
        spec: plain values, written as the artifact ``sweep.yaml``.
        resumed: look for the run first.
    """
    own = {KIND_TAG: SWEEP, "convention": "authors", **tags}
    found = _find_sweep(MlflowClient(tracking_uri=uri), experiment_id, name) if resumed else None
    if found is None:
        run_id = start_job_run(uri, experiment_id, name, settings, own)
    else:
        run_id = str(found.info.run_id)
        reopen_run(uri, run_id, settings, own)
    log_text(uri, run_id, yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True), SPEC_FILE)
    return run_id


def trial_name(sweep: str, number: int) -> str:
    """Name of a trial's run, such as ``trial 7 · SWEEP``: MLflow's page cuts names, so what differs stands first."""
    return f"trial {number} · {sweep}"


def trial_tags(
    values: Mapping[str, Any] | None = None,
    ended: str | None = None,
    lineage: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, str]:
    """Tags of a trial for ``start_trial_run`` and ``TaskRecorder.finish``; None is left out."""
    tags = {} if ended is None else {ENDED_TAG: ended}
    for name, content in ((VALUES_TAG, values), (LINEAGE_TAG, lineage)):
        if content is not None:
            tags |= json_tag(name, content)
    return tags


def start_trial_run(
    uri: str,
    experiment_id: str,
    parent: str,
    name: str,
    task: str,
    number: int,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any],
    varied: Sequence[str] = (),
) -> str:
    """The id of a trial's run below its sweep: reopened if it exists, else created (``ended`` is ``running`` then).

    Args:
        parent: the sweep's run.
        name: the sweep's name.
        task: as the sweep's own tag: a task's name, or "all".
        number: the trial's.
        settings: the trial's, nested.
        tags: see ``trial_tags``.
        varied: as in ``settings.shown_params``.
    """
    own = {ENDED_TAG: RUNNING, **tags}
    run_name, which = trial_name(name, number), {TRIAL_TAG: number}
    return start_task_run(uri, experiment_id, parent, task, run_name, settings, own, which=which, varied=varied)


def try_start_trial_run(*arguments: Any) -> str | None:
    """``start_trial_run``, or None and a warning where the store is away: that must not end a sweep."""
    try:
        with http_retry_limits(retries=1, seconds=15):
            return start_trial_run(*arguments)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        log.warning("MLflow's store is away (%s); the trial is written there later", reason_of(error))
        return None


def recorded_endings(uri: str, experiment_id: str, parent: str) -> dict[int, str]:
    """Ending of each trial below a sweep's run, as far as MLflow has been told."""
    children = _trials(MlflowClient(tracking_uri=uri), experiment_id, parent)
    return {number: run.data.tags.get(ENDED_TAG, RUNNING) for number, run in children.items()}


def log_sweep_results(
    uri: str, run_id: str, best_trial: int, best_yaml: str, comparison: Mapping[str, Any] | None
) -> str | None:
    """Writes a sweep's outcome: ``best.yaml``, ``comparison.json`` (if there is one) and the tag ``best_trial``.

    Returns:
        None, or in one line why it could not be written: hours of training must not end in a traceback.
    """
    try:
        log_text(uri, run_id, best_yaml, BEST_FILE)
        if comparison is not None:
            log_text(uri, run_id, json.dumps(comparison, indent=1), COMPARISON_FILE)
        MlflowClient(tracking_uri=uri).log_batch(run_id, tags=[RunTag(BEST_TAG, str(best_trial))])
    except (MlflowException, OSError, SQLAlchemyError) as error:
        return reason_of(error)
    return None


def read_sweep(uri: str, experiment: str, name: str) -> RecordedSweep:
    """The newest sweep of that name, with all its trials; of an epoch that was trained twice the later numbers count.

    Raises:
        UserError: there is no such store, experiment or sweep, or the sweep's record is not whole.
    """
    require_store(uri)
    client = MlflowClient(tracking_uri=uri)
    try:
        with http_retry_limits(retries=2, seconds=20):
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise UserError(f"--experiment {experiment!r}: {redacted(uri)} has no such experiment")
            run = _find_sweep(client, found.experiment_id, name)
            if run is None:
                raise UserError(f"--sweep {name!r}: {_known_sweeps(client, found.experiment_id, experiment)}")
            return _read(client, uri, run)
    except MlflowException as error:
        raise UserError(f"the sweep {name!r} cannot be read from {redacted(uri)} ({reason_of(error)})") from error


def _known_sweeps(client: MlflowClient, experiment_id: str, experiment: str) -> str:
    names = dict.fromkeys(str(run.info.run_name) for run in _sweeps(client, experiment_id))
    if not names:
        return f"the experiment {experiment!r} has no sweep: give the right --experiment and --tracking-uri"
    return f"the experiment {experiment!r} has no such sweep; there are {', '.join(list(names)[:20])}"


def _find_sweep(client: MlflowClient, experiment_id: str, name: str) -> Run | None:
    return next((run for run in _sweeps(client, experiment_id) if run.info.run_name == name), None)


def _sweeps(client: MlflowClient, experiment_id: str) -> list[Run]:
    found = _search(client, experiment_id, f"tags.`{KIND_TAG}` = '{SWEEP}'")
    return [run for run in found if PARENT_TAG not in run.data.tags]


def _trials(client: MlflowClient, experiment_id: str, parent: str) -> dict[int, Run]:
    """The newest run of each trial below a sweep's run."""
    children = _search(client, experiment_id, f"tags.`{PARENT_TAG}` = '{parent}'")
    return {int(child.data.tags[TRIAL_TAG]): child for child in reversed(children) if TRIAL_TAG in child.data.tags}


def _search(client: MlflowClient, experiment_id: str, query: str) -> list[Run]:
    """Returns all runs, newest first."""
    found: list[Run] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs(
            [experiment_id], query, max_results=_PAGE, order_by=["attributes.start_time DESC"], page_token=token
        )
        found += page
        token = page.token or ""
    return found


def _read(client: MlflowClient, uri: str, run: Run) -> RecordedSweep:
    run_id = str(run.info.run_id)
    texts = _texts(client, run_id)
    spec = yaml.safe_load(texts.get(SPEC_FILE, ""))
    if not isinstance(spec, dict):
        raise UserError(f"the sweep {run.info.run_name!r} has no {SPEC_FILE}: it was not begun by jobs/sweep.py")
    trials = _trials(client, run.info.experiment_id, run_id)
    comparison = texts.get(COMPARISON_FILE)
    return RecordedSweep(
        str(run.info.run_name),
        run_id,
        spec,
        dict(run.data.tags),
        [_read_trial(client, number, trials[number]) for number in sorted(trials)],
        texts.get(BEST_FILE),
        None if comparison is None else json.loads(comparison),
        uri,
    )


def _texts(client: MlflowClient, run_id: str) -> dict[str, str]:
    there = {entry.path for entry in client.list_artifacts(run_id)}
    with TemporaryDirectory(prefix="refusion-sweep-") as folder, no_progress_bar():
        return {
            file: Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")
            for file in (SPEC_FILE, BEST_FILE, COMPARISON_FILE)
            if file in there
        }


def _read_trial(client: MlflowClient, number: int, run: Run) -> RecordedTrial:
    history: dict[int, dict[str, float]] = {}
    last = run.info.start_time
    for name in run.data.metrics:
        if name.startswith((SYSTEM, REGISTERED)) or BASELINE in name:
            continue
        for at in sorted(client.get_metric_history(run.info.run_id, name), key=lambda point: point.timestamp):
            history.setdefault(epoch_of(at.step, run.data.tags), {})[name] = float(at.value)
            last = max(last, at.timestamp)
    values = read_json_tag(run.data.tags, VALUES_TAG, {})
    lineage = read_json_tag(run.data.tags, LINEAGE_TAG, [{"epoch": 0, "from": None, "values": values}])
    return RecordedTrial(
        number,
        str(run.info.run_id),
        values,
        run.data.tags.get(ENDED_TAG, RUNNING),
        lineage,
        dict(sorted(history.items())),
        ((run.info.end_time or last) - run.info.start_time) / 1000,
    )
