"""Training from Python, for scripts and notebooks: `refusion.train`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console

from refusion.config.presets import read_preset
from refusion.config.settings import Settings
from refusion.runtime.console import console
from refusion.runtime.storage import Folder
from refusion.tracking.epochs import epoch_metrics
from refusion.training.checkpoints import METRICS_FILE
from refusion.training.job import FinishedJob, run_job
from refusion.training.manifest import RunRequest
from refusion.training.record.recording import BEST
from refusion.training.task_run import FINAL


@dataclass(frozen=True)
class TrainingResult:
    """Results of a training.

    Attributes:
        run_name: of the job; ``train(resume=run_name)`` goes on with it.
        tracking_uri: MLflow's store.
        metrics: one row per task and epoch: columns ``task``, ``epoch`` (0: untrained), losses, rates, and scores
            by their names; without rows where MLflow's server is away.
        best: one row per task: columns ``task``, and what its best epoch measured.
        checkpoints: by task, the folders ``final`` and ``best``, each of which `load_module` takes.
    """

    run_name: str
    tracking_uri: str
    metrics: pd.DataFrame
    best: pd.DataFrame
    checkpoints: dict[str, dict[str, str]]


def train(
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    run_name: str | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    resume: str | None = None,
    upgrade_store: bool = False,
    quiet: bool = False,
) -> TrainingResult:
    """Meta-trains the fusion tasks as ``jobs/train_all_tasks.py`` does, in the Ray that runs or in one that it starts.

    Args:
        settings: settings, or a mapping of those that differ from the defaults (or the preset), section by section;
            ``per_task`` holds those of a task alone, by task.
        preset: name of settings that come with the project, such as ``published``.
        run_name: of the new run; default date, time and four characters.
        storage: folder or address where runs are kept; default ``$REFUSION_HOME/runs``.
        tracking_uri: MLflow's store; default ``MLFLOW_TRACKING_URI``, or a local one.
        experiment: MLflow's experiment; default "refusion".
        resume: name of a run to go on with; where it runs code of yours, ``settings`` must name that again.
        upgrade_store: upgrade an SQLite store of an older MLflow, once; a copy stays beside it.
        quiet: prints nothing.

    Raises:
        UserError: the settings or the data are at fault; nothing has been trained then.
        RuntimeError: a task failed; names it and the reason.

    >>> train({"schedule": {"epochs": 0}})
    Traceback (most recent call last):
    refusion.errors.UserError: --schedule.epochs must be at least 1 (it is 0)
    """
    changes = settings.model_dump() if isinstance(settings, Settings) else dict(settings or {})
    if isinstance(settings, Settings) and "tasks" not in settings.model_fields_set:
        del changes["tasks"]
    request = RunRequest(
        [read_preset(preset), changes] if preset else [changes],
        run_name=run_name,
        storage=storage,
        tracking_uri=tracking_uri,
        experiment=experiment,
        resume=resume,
        upgrade_store=upgrade_store,
    )
    job = run_job(request, Console(quiet=True) if quiet else console())
    failed = [f"{outcome.task}: {outcome.error}" for outcome in job.outcomes if not outcome.succeeded]
    if failed:
        raise RuntimeError(f"{'; '.join(failed)} (go on with refusion.train(resume={job.run_name!r}))")
    tables = {task: _metrics(job, run_id) for task, run_id in job.run_ids.items()}
    for task, table in tables.items():
        table.insert(0, "task", task)
    checkpoints = {
        task: {kind: (job.folder / task / kind).uri for kind in (FINAL, BEST) if kind in (job.folder / task).names()}
        for task in tables
    }
    files = {task: Folder(found[BEST]) / METRICS_FILE for task, found in checkpoints.items() if BEST in found}
    best = pd.DataFrame([{"task": task, **json.loads(file.read_text())} for task, file in files.items()])
    metrics = pd.concat(tables.values(), ignore_index=True)
    return TrainingResult(job.run_name, job.tracking_uri, metrics, best, checkpoints)


def _metrics(job: FinishedJob, run_id: str) -> pd.DataFrame:
    """Returns a task's table; without rows, and a warning, where MLflow does not have all."""
    if not job.waiting:
        return epoch_metrics(job.tracking_uri, run_id)
    warnings.warn(
        f"MLflow does not have {job.waiting} writes of the run {job.run_name}: its numbers are not in `metrics`, "
        "python jobs/runs.py --write-waiting writes them",
        stacklevel=3,
    )
    return pd.DataFrame({"epoch": []})
