"""List the runs and sweeps that are kept: state, scores, age, size, how to go on; delete what is superseded.

python jobs/runs.py                       # those of $REFUSION_HOME
python jobs/runs.py --prune               # shows what others have superseded, asks, deletes it, says what that freed
python jobs/runs.py --close               # closes those whose job is gone
python jobs/runs.py --write-waiting       # writes to MLflow what waits since its server was away
python jobs/runs.py --json                # for programs; or --csv
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from refusion.cli.options import Parser
from refusion.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from refusion.inventory.entries import Entry


def runs(arguments: Sequence[str], description: str) -> int:
    """List runs and sweeps, and delete or close some where that is asked for; returns the exit status.

    Raises:
        UserError: the request is at fault, or MLflow's store cannot say what is needed.
    """
    parser = Parser(description)
    parser.add_argument(
        "--storage", metavar="DIR|URI", help="where runs or sweeps are kept [$REFUSION_HOME/runs and …/sweeps]"
    )
    parser.add_argument("--prune", action="store_true", help="delete what is superseded, after showing it")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser.add_argument("--close", action="store_true", help="close runs and sweeps whose job is gone")
    parser.add_argument("--write-waiting", action="store_true", help="write to MLflow what waits since it was away")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow's store, for --write-waiting [that of each run]")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print a list of objects")
    shown.add_argument("--csv", action="store_true", help="print a row for each task of each run")
    options = parser.parse_args(list(arguments))
    if options.prune and (options.json or options.csv):
        raise UserError("--prune asks and answers in words: leave --json and --csv out")
    if options.tracking_uri and not options.write_waiting:
        raise UserError("--tracking-uri says where --write-waiting writes: give both, or neither")
    from rich.console import Console

    from refusion.inventory import show

    console = Console()
    found = _found(options.storage)
    if options.write_waiting:
        return _write_waiting(found, options.tracking_uri, console)
    if options.close:
        _close(found, Console(stderr=True))
        found = _found(options.storage)
    if options.json or options.csv:
        sys.stdout.write(show.as_json(found) + "\n" if options.json else show.as_csv(found))
        return 0
    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    if not found:
        say(f"there are no runs and no sweeps in {options.storage or '$REFUSION_HOME'}")
        return 0
    if options.prune:
        return _prune(found, console, sure=options.yes)
    console.print(show.as_table(found))
    for line in show.notes(found):
        say(line)
    total = show.size_text(sum(entry.size for entry in found))
    say(f"{len(found)} in all, {total}")
    return 0


def _found(storage: str | None) -> list[Entry]:
    from refusion.inventory.entries import entries
    from refusion.runtime.storage import Folder
    from refusion.search.manifest import SweepManifest
    from refusion.training.manifest import RunManifest

    given = None if storage is None else Folder.at(storage)
    return [
        *entries(given or RunManifest.default_storage(), "run"),
        *entries(given or SweepManifest.default_storage(), "sweep"),
    ]


def _write_waiting(found: Sequence[Entry], uri: str | None, console: Console) -> int:
    from refusion.inventory.waiting import write_waiting
    from refusion.tracking.store import resolve_tracking_uri

    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    store = None if uri is None else resolve_tracking_uri(uri)
    behind = [entry for entry in found if entry.waiting]
    left = 0
    for entry in behind:
        if entry.state == "running":
            say(f"{entry.kind} {entry.name}: {entry.owner} is at work on it and writes what waits")
            continue
        left += write_waiting(entry, store, say)
    if not behind:
        say("nothing waits for MLflow")
    return 1 if left else 0


def _close(found: Sequence[Entry], console: Console) -> None:
    from refusion.inventory.pruning import close

    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    gone = [entry for entry in found if entry.state == "abandoned"]
    close(gone, say)
    if not gone:
        say("nothing to close: no job is gone without having closed its run")


def _prune(found: Sequence[Entry], console: Console, *, sure: bool) -> int:
    from refusion.inventory.pruning import delete, folders_needed
    from refusion.inventory.show import as_table, size_text
    from refusion.inventory.superseded import superseded

    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    gone = superseded(found, folders_needed(found))
    if not gone:
        say("nothing is superseded")
        return 0
    console.print(as_table([one.entry for one in gone]))
    for one in gone:
        say(f"{one.entry.name}: {one.why}")
    total = size_text(sum(one.entry.size for one in gone))
    if not sure:
        if not sys.stdin.isatty():
            raise UserError(f"--prune: would delete these {len(gone)}, {total}; add --yes to do so, as nobody is asked")
        if input(f"delete these {len(gone)} ({total})? [y/N] ").strip().lower() not in ("y", "yes"):
            say("nothing was deleted")
            return 0
    freed = 0
    for one in gone:
        try:
            freed += delete(one.entry, say)
        except UserError as error:
            # One that a job has begun to work on since it was listed.
            say(str(error))
            continue
        say(f"deleted {one.entry.folder.uri}")
    say(f"freed {size_text(freed)}; MLflow keeps what was recorded")
    return 0
