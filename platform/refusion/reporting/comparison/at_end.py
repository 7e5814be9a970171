"""Report that a job leaves beside its run: its tasks beside those of the newest other jobs of the experiment."""

from __future__ import annotations

from refusion.metrics import METRICS
from refusion.reporting.comparison.files import PAGE, page_of
from refusion.reporting.comparison.groups import group_runs
from refusion.runtime.ending import path_or_uri
from refusion.tracking.comparison.runs import read_runs
from refusion.tracking.store import ui_command
from refusion.training.display.report import Ended

# Jobs and evaluated methods that are shown, this one among them.
_NEWEST = 6


def write_report(ended: Ended) -> str:
    """Writes ``report.html`` into the run's folder; returns its path, or its address in an object store.

    Raises:
        UserError: the store cannot be read.
        OSError: the folder cannot be written.
    """
    runs = read_runs(ended.tracking_uri, ended.experiment, METRICS, newest=_NEWEST, job=ended.run_id)
    foot = (
        f"The run {ended.name} and the newest others of the experiment {ended.experiment} in MLflow; "
        f"open it with: {ui_command(ended.tracking_uri)}"
    )
    file = ended.folder / PAGE
    file.write_text(page_of(f"Run {ended.name}", group_runs(runs), foot, ended.name))
    return path_or_uri(file.uri)
