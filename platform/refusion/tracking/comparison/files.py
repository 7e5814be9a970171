"""Names of artifacts in a task's run that a comparison of runs reads; without MLflow."""

from __future__ import annotations

from typing import Literal

from refusion.tracking.settings import safe_name


def source_file(pair: str, side: str) -> str:
    """Returns the artifact that holds a pair's source, ``a`` or ``b``."""
    return f"{safe_name(f'sources/{pair}/{side}', 110)}.png"


def scores_file(task: str, epoch: Literal["best", "last"]) -> str:
    """Returns the artifact in a run: of its best epoch so far, or of the newest that was validated."""
    return f"scores/{task}/{epoch}.csv"


def means_file(task: str) -> str:
    """Returns the artifact in a run with the means of its best and its newest epoch, and of the average."""
    return f"scores/{task}/means.csv"
