"""Runs and sweeps that others have superseded, and the reason; what is needed is never among them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from refusion.inventory.entries import Entry


@dataclass(frozen=True)
class Superseded:
    """An entry that may go.

    Attributes:
        entry: the run or sweep.
        why: a few words.
    """

    entry: Entry
    why: str


def superseded(found: Sequence[Entry], needed: Collection[str]) -> list[Superseded]:
    """Returns the runs and sweeps of which others of the same kind leave nothing to keep.

    A run is superseded where, for each of its tasks, a finished run has a higher best score on the same pairs by the
    same metric, or an equal one later; a sweep where a later one over the same space, settings and pairs is finished;
    either where it stopped before anything was trained. What is running is not, nor what
    cannot be read, or has writes that wait for MLflow.

    Args:
        found: all of one storage.
        needed: addresses of the folders that something else needs.
    """
    gone: list[Superseded] = []
    for entry in found:
        if entry.state in ("running", "unreadable") or entry.folder.uri in needed or entry.waiting:
            continue
        others = [other for other in found if other is not entry and other.kind == entry.kind]
        why = _why(entry, [other for other in others if other.state == "finished"])
        if why:
            gone.append(Superseded(entry, why))
    return gone


def _why(entry: Entry, finished: Sequence[Entry]) -> str:
    if entry.state != "finished" and not entry.trained:
        return "it stopped before anything was trained"
    if entry.kind == "sweep":
        later = next((other.name for other in finished if other.about == entry.about and other.at > entry.at), None)
        return "" if later is None else f"{later} has searched the same later"
    better = {task: _better(entry, task, finished) for task in entry.tasks if task in entry.scores}
    if not better or not all(better.values()):
        return ""
    names = list(dict.fromkeys(better.values()))
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} better on the same pairs"


def _better(entry: Entry, task: str, finished: Sequence[Entry]) -> str:
    """Returns the name of the best run that beats this one at the task; empty where none does."""
    own = entry.scores[task]
    rivals = [
        (other.scores[task].value, other.at, other.name)
        for other in finished
        if task in other.scores
        and (other.scores[task].metric, other.scores[task].measured) == (own.metric, own.measured)
    ]
    # Of equal ones the later stays, so that never both go.
    value, at, name = max(rivals, default=(float("-inf"), 0.0, ""))
    return name if (value, at) > (own.value, entry.at) else ""
