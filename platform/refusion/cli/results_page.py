"""Tables of the results page, made anew from the CSV files of evaluations, ablations and audits.

python analysis/results_page.py                                    # docs/results.md from analysis/results
python analysis/results_page.py --results measured --page page.md  # other files, another page

The files: RESULTS/scores/TASK.csv of jobs/evaluate.py, RESULTS/ablations*.csv of analysis/ablations.py and
RESULTS/audit*.csv of analysis/reward_audit.py; RESULTS/adapted/TASK.csv of jobs/evaluate.py --adapt; and of
analysis/ablations.py on other pairs RESULTS/one_for_all.csv, and unseen.csv and folds.csv (analysis/hold_out.py); with
--equal time RESULTS/equal_time.csv.
What stands on the page between its tables is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.cli.options import Parser
from refusion.errors import UserError


def results_page(arguments: Sequence[str], description: str) -> int:
    """Make the page's tables anew; returns the exit status.

    Raises:
        UserError: the page or a file is at fault.
    """
    parser = Parser(description)
    parser.add_argument(
        "--results", type=Path, default=Path("analysis/results"), metavar="DIR", help="CSV files [analysis/results]"
    )
    parser.add_argument(
        "--page", type=Path, default=Path("docs/results.md"), metavar="FILE.md", help="the page [docs/results.md]"
    )
    parser.add_argument("--data", default="../shared/data", help="data set, as commands name it [../shared/data]")
    parser.add_argument(
        "--weights",
        default="../shared/published",
        metavar="DIR",
        help="the authors' weight files, as commands name them [../shared/published]",
    )
    parser.add_argument(
        "--base", metavar="BASE.yaml", help="settings of the ablations [ablations.yaml of --results, or results]"
    )
    parser.add_argument("--ours", default="ours", metavar="NAME", help="our method's name in the scores [ours]")
    parser.add_argument("--published", default="published", metavar="NAME", help="the authors' [published]")
    options = parser.parse_args(list(arguments))
    from refusion.evaluation.csv_file import write_atomically
    from refusion.results.page import Sources
    from refusion.results.template import fill

    own = options.results / "ablations.yaml"
    base = options.base or (own.as_posix() if own.is_file() else "results")
    sources = Sources(options.results, options.data, options.weights, base, options.ours, options.published)
    if not options.results.is_dir():
        raise UserError(f"--results {options.results}: there is no such folder")
    try:
        page = options.page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--page {options.page}: cannot be read ({error.strerror})") from error
    kept: list[str] = []

    def make(name: str) -> str | None:
        made = sources.part(name)
        if made is None:
            kept.append(name)
        return made

    write_atomically(options.page, fill(page, make))
    if kept:
        print(f"without files, left as they were: {', '.join(kept)}")
    print(f"page: {options.page.resolve()}")
    return 0
