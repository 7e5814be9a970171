"""Move the alias `best` of a registered model to another version, where a paired test does not say that it is worse.

python analysis/promote.py --task IVIF                # the newest version, which has the alias candidate
python analysis/promote.py --task IVIF --version 7
python analysis/promote.py --task IVIF --run night --force
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from refusion.cli.options import Parser
from refusion.cli.shared.store import add_store_options, upgrade_if_asked
from refusion.errors import UserError
from refusion.tasks import TASKS


def promote_version(arguments: Sequence[str], description: str) -> int:
    """Compare, say the numbers, and move the alias or leave it; returns the exit status.

    Raises:
        UserError: there is no such version, or the alias is not moved.
    """
    parser = Parser(description)
    parser.add_argument("--task", required=True, choices=tuple(TASKS), help="whose model it is")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="N", help="number of the version [that of the alias candidate]")
    which.add_argument("--run", metavar="NAME", help="job whose version it is")
    parser.add_argument("--force", action="store_true", help="move the alias whatever the test says")
    add_store_options(parser)
    options = parser.parse_args(list(arguments))
    from refusion.evaluation.ranking import QUALITY
    from refusion.evaluation.table import is_higher_better
    from refusion.tracking.models.promotion import examine, promote
    from refusion.tracking.store import resolve_tracking_uri

    upgrade_if_asked(options.upgrade_store, options.tracking_uri)
    uri = resolve_tracking_uri(options.tracking_uri)
    found = examine(uri, options.task, is_higher_better(QUALITY), version=options.version, run=options.run)
    for number, words in found.origins.items():
        print(f"version {number}: {words}{', which has the alias best' if number == found.holder else ''}")
    if found.already:
        print(f"models:/{found.name}@best is version {found.number} already")
        return 0
    if found.tests is not None:
        print(f"version {found.number} less version {found.holder}, Wilcoxon signed-rank test, Holm-corrected:")
        for row in found.tests.to_dict("records"):
            p = "–" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.4f}"
            print(f"  {row['metric']:5} {row['difference']:+.4f}  p {p}  ({row['pictures']} pairs)")
    if found.why_not and not options.force:
        raise UserError(f"models:/{found.name}@best stays version {found.holder}: {found.why_not}; --force moves it")
    promote(uri, found)
    before = f", it was version {found.holder}" if found.holder else ""
    against = f" although {found.why_not}" if found.why_not else ""
    print(f"models:/{found.name}@best is version {found.number} now{against}{before}")
    return 0
