"""Recorded history of a task's run over its epochs, as a table."""

from __future__ import annotations

import pandas as pd
from mlflow import MlflowClient

# What each machine did meanwhile is for the UI.
_SYSTEM = "system/"
# Prefix of what was recorded within an epoch, at the number of steps that were done.
WITHIN_EPOCH = "within/"


def epoch_metrics(uri: str, run_id: str) -> pd.DataFrame:
    """One row per epoch of a run, with columns ``epoch`` (from 0) and the names of its metrics, sorted.

    Where an epoch was recorded twice, as after a restart, the newer value counts.
    """
    client = MlflowClient(tracking_uri=uri)
    names = sorted(name for name in client.get_run(run_id).data.metrics if not name.startswith((_SYSTEM, WITHIN_EPOCH)))
    rows: dict[int, dict[str, float]] = {}
    for name in names:
        for point in sorted(client.get_metric_history(run_id, name), key=lambda point: point.timestamp):
            rows.setdefault(point.step, {})[name] = point.value
    return pd.DataFrame([{"epoch": epoch, **rows[epoch]} for epoch in sorted(rows)], columns=["epoch", *names])
