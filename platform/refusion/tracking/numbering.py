"""Epochs as MLflow's steps: numbered from 1, 0 being before the first; older runs go on to count from 0."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow import MlflowClient

EPOCHS_FROM_TAG = "epochs_from"
# A run and a version of a model without it were written when the first epoch was step 0.
NUMBERING = {EPOCHS_FROM_TAG: "1"}


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
    return counts_from_zero(MlflowClient(tracking_uri=uri).get_run(run_id).data.tags)
