"""Compare trained runs and evaluated methods of an experiment, from MLflow's store alone: tables and one page.

python analysis/compare_runs.py --experiment NAME --out DIR
python analysis/compare_runs.py --experiment NAME --runs night morning --baseline night --out DIR
python analysis/compare_runs.py --tracking-uri http://other:5000 --experiment NAME --out DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.cli.options import Parser
from refusion.cli.shared.store import add_store_options, upgrade_if_asked
from refusion.cli.shared.written import write_files


def compare_runs(arguments: Sequence[str], description: str) -> int:
    """Write the page and the tables; returns the exit status.

    Raises:
        UserError: there is no such experiment or run, or the folder cannot be written.
    """
    parser = Parser(description)
    parser.add_argument("--experiment", default="refusion", metavar="NAME", help="MLflow experiment [refusion]")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the page and the tables")
    parser.add_argument("--runs", nargs="+", metavar="NAME", help="jobs, or evaluated methods [all of the experiment]")
    parser.add_argument(
        "--baseline", default="average", metavar="average|RUN", help="what the others are compared with [average]"
    )
    add_store_options(parser)
    options = parser.parse_args(list(arguments))
    from rich.console import Console

    from refusion.metrics import METRICS
    from refusion.reporting.comparison.files import PAGE, comparison_files
    from refusion.reporting.comparison.groups import group_runs
    from refusion.reporting.comparison.measures import scores_of
    from refusion.reporting.comparison.words import finding
    from refusion.tracking.comparison.runs import read_runs
    from refusion.tracking.store import resolve_tracking_uri, ui_command

    upgrade_if_asked(options.upgrade_store, options.tracking_uri)
    uri = resolve_tracking_uri(options.tracking_uri)
    names = options.runs
    if names and options.baseline not in ("average", *names):
        names = [options.baseline, *names]
    compared = group_runs(read_runs(uri, options.experiment, METRICS, names), options.baseline)
    foot = f"Made of the experiment {options.experiment} in MLflow; open it with: {ui_command(uri)}"
    texts = comparison_files(f"Runs of {options.experiment}", compared, foot)
    write_files(options.out, texts)
    console = Console()
    said = [finding(group, scores_of(group)) for group in compared.groups] + compared.notes
    said = said or ["no run of this experiment has scores per picture yet"]
    for line in (
        *said,
        f"tables: {', '.join(name for name in texts if name != PAGE)}",
        f"report: {(options.out / PAGE).resolve()}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0
