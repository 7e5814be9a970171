"""Epochs of a run in MLflow: their numbers, from 1 (0 is before the first step), and their metrics as a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Prefix of what was recorded within an epoch, at the number of steps that were done.
WITHIN_EPOCH = "within/"
# Prefix of a registered version's scores where the run has others of its own.
REGISTERED = "registered/"
# Prefix of the average's scores, and those of them that are recorded as curves: all eight hardly change.
BASELINE = "baseline/"
REFERENCES = ("Qabf", "SSIM")
# What each machine did meanwhile, and the best epoch's numbers again, are for the UI.
_LEFT_OUT = ("system/", "best/", REGISTERED, WITHIN_EPOCH)

EPOCHS_FROM_TAG = "epochs_from"
# A run and a version of a model without it were written when the first epoch was step 0.
NUMBERING = {EPOCHS_FROM_TAG: "1"}


def without_baselines(numbers: Mapping[str, float]) -> dict[str, float]:
    """Returns an epoch's numbers without the average's scores but for ``REFERENCES``.

    >>> without_baselines({"EN": 7.0, "baseline/EN": 6.9, "baseline/Qabf": 0.4})
    {'EN': 7.0, 'baseline/Qabf': 0.4}
    """
    kept = {f"{BASELINE}{name}" for name in REFERENCES}
    return {name: value for name, value in numbers.items() if name in kept or not name.startswith(BASELINE)}


def counts_from_zero(tags: Mapping[str, str]) -> bool:
    """Returns true for the tags of a run, or of a model's version, whose first epoch is step 0.

    >>> counts_from_zero({}), counts_from_zero(NUMBERING)
    (True, False)
    """
    return EPOCHS_FROM_TAG not in tags


def step_of(epoch: int, tags: Mapping[str, str]) -> int:
    """Returns MLflow's step of an epoch (from 1) in the run of those tags."""
    return epoch - counts_from_zero(tags)


def epoch_of(step: int, tags: Mapping[str, str]) -> int:
    """Returns the epoch (from 1) at a step of the run of those tags."""
    return step + counts_from_zero(tags)


def run_counts_from_zero(uri: str, run_id: str) -> bool:
    """Returns true for a run whose first epoch is step 0; raises what MLflow raises."""
    # Here, since processes that train import this module too.
    from mlflow import MlflowClient

    return counts_from_zero(MlflowClient(tracking_uri=uri).get_run(run_id).data.tags)


def epoch_metrics(uri: str, run_id: str, only: Collection[str] | None = None) -> pd.DataFrame:
    """One row per epoch of a run, columns ``epoch`` (0: before the first step) and the names of its metrics, sorted.

    Where an epoch was recorded twice, as after a restart, the newer value counts.

    Args:
        uri, run_id: of the store and the run.
        only: names of metrics; None for all but what is recorded for MLflow's page alone.
    """
    import pandas as pd
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(run_id)
    names = sorted(
        name for name in run.data.metrics if not name.startswith(_LEFT_OUT) and (only is None or name in only)
    )
    rows: dict[int, dict[str, float]] = {}
    for name in names:
        for point in sorted(client.get_metric_history(run_id, name), key=lambda point: point.timestamp):
            rows.setdefault(epoch_of(point.step, run.data.tags), {})[name] = point.value
    return pd.DataFrame([{"epoch": epoch, **rows[epoch]} for epoch in sorted(rows)], columns=["epoch", *names])
