"""Recorded history of a task's run over its epochs, as a table."""

from __future__ import annotations

import pandas as pd
from mlflow import MlflowClient

from refusion.tracking.numbering import epoch_of

# Prefix of what was recorded within an epoch, at the number of steps that were done.
WITHIN_EPOCH = "within/"
# What each machine did meanwhile, and the best epoch's numbers again, are for the UI.
_LEFT_OUT = ("system/", "best/", WITHIN_EPOCH)


def epoch_metrics(uri: str, run_id: str) -> pd.DataFrame:
    """One row per epoch of a run, with columns ``epoch`` (from 1) and the names of its metrics, sorted.

    Where an epoch was recorded twice, as after a restart, the newer value counts.
    """
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(run_id)
    names = sorted(name for name in run.data.metrics if not name.startswith(_LEFT_OUT))
    rows: dict[int, dict[str, float]] = {}
    for name in names:
        for point in sorted(client.get_metric_history(run_id, name), key=lambda point: point.timestamp):
            rows.setdefault(epoch_of(point.step, run.data.tags), {})[name] = point.value
    return pd.DataFrame([{"epoch": epoch, **rows[epoch]} for epoch in sorted(rows)], columns=["epoch", *names])
