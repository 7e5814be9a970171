"""Files of a sweep's report, and those that a sweep leaves in its folder when it ends."""

from __future__ import annotations

from refusion.reporting.study import Study, read_study
from refusion.reporting.sweep_page import sweep_page
from refusion.reporting.tables import trial_table
from refusion.runtime.ending import local_path
from refusion.tracking.store import ui_command
from refusion.tracking.sweeps import BEST_FILE, read_sweep
from refusion.training.display.report import Ended

PAGE, TABLE = "report.html", "trials.csv"


def report_files(study: Study, ui: str) -> dict[str, str]:
    """Returns the files' texts by name; ``best.yaml`` only where the sweep has recorded one.

    Args:
        study: the sweep.
        ui: command that opens MLflow.
    """
    texts = {PAGE: sweep_page(study, ui), TABLE: trial_table(study).to_csv(index=False)}
    return texts if study.sweep.best_yaml is None else texts | {BEST_FILE: study.sweep.best_yaml}


def write_sweep_report(ended: Ended) -> str:
    """Writes ``report.html`` and ``trials.csv`` into the sweep's folder; returns the page's path or address.

    Raises:
        UserError: the store cannot be read.
        OSError: the folder cannot be written.
    """
    study = read_study(read_sweep(ended.tracking_uri, ended.experiment, ended.name))
    texts = report_files(study, ui_command(ended.tracking_uri))
    for name in (PAGE, TABLE):
        (ended.folder / name).write_text(texts[name])
    page = (ended.folder / PAGE).uri
    return str(local_path(page) or page)
