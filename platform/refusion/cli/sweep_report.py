"""Report of a sweep as one page: best settings, learning curves, which parameters mattered.

python analysis/sweep_report.py --sweep NAME --out DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.cli.options import Parser
from refusion.cli.shared.store import add_store_options, upgrade_if_asked
from refusion.cli.shared.written import write_files


def sweep_report(arguments: Sequence[str], description: str) -> int:
    """Write ``report.html``, ``trials.csv`` and ``best.yaml`` of a sweep; returns the exit status.

    Raises:
        UserError: there is no such sweep, or the folder cannot be written.
    """
    parser = Parser(description)
    parser.add_argument("--sweep", required=True, metavar="NAME", help="name of the sweep")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the report")
    add_store_options(parser)
    parser.add_argument("--experiment", default="refusion", metavar="NAME", help="MLflow experiment [refusion]")
    options = parser.parse_args(list(arguments))
    # pandas, matplotlib and MLflow take seconds to import: only once the command line is understood.
    from rich.console import Console

    from refusion.reporting.study import read_study
    from refusion.reporting.sweep_files import PAGE, report_files
    from refusion.reporting.sweep_outcome import result_sentence
    from refusion.reporting.tables import best_values, rich_table
    from refusion.tracking.store import resolve_tracking_uri, ui_command
    from refusion.tracking.sweeps import read_sweep

    upgrade_if_asked(options.upgrade_store, options.tracking_uri)
    uri = resolve_tracking_uri(options.tracking_uri)
    study = read_study(read_sweep(uri, options.experiment, options.sweep))
    write_files(options.out, report_files(study, ui_command(uri)))
    console = Console()
    console.print(rich_table(study))
    values = best_values(study)
    said = [f"trial {study.best}: {values}"] if values else []
    for text in (*said, result_sentence(study), f"report: {(options.out / PAGE).resolve()}"):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0
