"""First moments of a training's workers, also after a restart: the newest checkpoint, and how many they are."""

from __future__ import annotations

from pathlib import Path

import ray.train

from refusion.config.settings import Settings
from refusion.errors import DamagedCheckpointError, UserError
from refusion.meta.state import TrainingState
from refusion.training.checkpoints import load_checkpoint, saved_best_by


def load_newest(checkpoint: ray.train.Checkpoint | None, state: TrainingState, settings: Settings) -> None:
    """Put the newest checkpoint that Ray Train has on record into ``state``; leave it as it is where there is none.

    Raises:
        DamagedCheckpointError: it cannot be gone on from. The job sets it aside and trains from the one before.
    """
    if checkpoint is None:
        return
    try:
        with checkpoint.as_directory() as place:
            folder = Path(place)
            load_checkpoint(folder, state)
            if saved_best_by(folder) != settings.validation.best_by:
                # Scores by another metric do not compare: the best is chosen anew.
                state.best_score = None
    except (UserError, OSError) as error:
        raise DamagedCheckpointError(str(error)) from error


def group_note(state: TrainingState, settings: Settings, workers: int) -> str:
    """Returns a line on the number of workers, where that may change and the training is not at its first step."""
    if len(settings.worker_counts) == 1 or not state.steps:
        return ""
    s = "" if workers == 1 else "s"
    return f"epoch {state.epoch + 1} goes on with {workers} worker{s} of --workers {settings.workers}"
