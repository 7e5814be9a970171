"""Evaluations in MLflow: one run per method, with mean scores, the table, and the data set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from refusion.tracking.failures import reason_of
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import TASK_TAG, start_job_run

KIND = "evaluation"


@dataclass(frozen=True)
class Evaluation:
    """The result of one method, as it is written to MLflow.

    Attributes:
        task, method, convention: become tags.
        params: nested settings of the evaluation.
        metrics: by their names in MLflow; a value may be NaN.
        files: text by the name of the artifact.
        pairs_digest, source, count, split: of the sources, as for ``TaskRecorder.dataset``.
        facts: further tags, descriptions of the metrics.
    """

    task: str
    method: str
    convention: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    files: Mapping[str, str]
    pairs_digest: str
    source: str
    count: int
    split: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_name(self) -> str:
        """Name of the run."""
        return f"evaluate-{self.task}-{self.method}"


def record_evaluation(uri: str, experiment_id: str, evaluation: Evaluation) -> str | None:
    """Writes one run and closes it; no error of MLflow is raised, so that hours of work do not end in a traceback.

    Returns:
        None, or one line on what could not be written.
    """
    tags = {
        "kind": KIND,
        TASK_TAG: evaluation.task,
        "method": evaluation.method,
        "convention": evaluation.convention,
        "dataset_digest": evaluation.pairs_digest,
        **evaluation.facts,
    }
    try:
        run_id = start_job_run(uri, experiment_id, evaluation.run_name, evaluation.params, tags)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        return f"{evaluation.run_name}: {reason_of(error)}"
    recorder = TaskRecorder(uri, run_id)
    recorder.epoch(0, evaluation.metrics)
    recorder.dataset(evaluation.task, evaluation.pairs_digest, evaluation.source, evaluation.count, evaluation.split)
    with tempfile.TemporaryDirectory(prefix="refusion-evaluation-") as folder:
        for name, text in evaluation.files.items():
            file = Path(folder) / name
            file.write_text(text, encoding="utf-8")
            recorder.artifact(file)
        recorder.finish("FINISHED")
    return f"{evaluation.run_name}: {recorder.unsent} entries are missing" if recorder.unsent else None
