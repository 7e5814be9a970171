"""Inventory as a table for people, as JSON and as CSV for programs."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from refusion.inventory.entries import Entry

_STYLES = {"running": "green", "abandoned": "red", "stopped": "yellow", "unreadable": "red"}
_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def size_text(size: float) -> str:
    """Returns bytes in words.

    >>> size_text(1234567), size_text(999), size_text(2.5e9)
    ('1.2 MB', '999 B', '2.5 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


def age_text(seconds: float) -> str:
    """Returns seconds in the largest unit that has two of them.

    >>> age_text(90), age_text(7200), age_text(3e6)
    ('90 s', '2 h', '35 d')
    """
    unit, factor = next(((unit, factor) for unit, factor in _UNITS if seconds >= 2 * factor), _UNITS[-1])
    return f"{seconds / factor:.0f} {unit}"


def as_table(found: Sequence[Entry]) -> Table:
    """Returns the table: name, state, scores, age and size of each, and below how to go on with it."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("name", "state", "best so far", "age", "size"):
        table.add_column(head, justify="right" if head in ("age", "size") else "left", overflow="fold")
    for entry in found:
        table.add_row(
            Text(f"{entry.name}" + (" (sweep)" if entry.kind == "sweep" else "")),
            Text(entry.state, style=_STYLES.get(entry.state, "")),
            Text(entry.fault or "\n".join(_score_lines(entry))),
            age_text(entry.age),
            size_text(entry.size),
        )
    return table


def notes(found: Sequence[Entry]) -> list[str]:
    """Returns a line for each entry that a job is or was at work on, or that can be gone on with."""
    lines = []
    for entry in found:
        if entry.state == "running":
            lines.append(f"{entry.name}: {entry.owner} is at work on it")
        if entry.state == "abandoned":
            lines.append(f"{entry.name}: {entry.owner} is gone; --close closes it, or go on with it:")
        if entry.waiting and entry.state != "running":
            lines.append(f"{entry.name}: {entry.waiting} writes wait for MLflow; --write-waiting writes them")
        if entry.resume:
            lines.append(f"{entry.name}: {shlex.join(entry.resume)}" if entry.state != "abandoned" else
                         f"  {shlex.join(entry.resume)}")  # fmt: skip
    return lines


def as_json(found: Sequence[Entry]) -> str:
    """Returns a list of objects; a score that is no number is null."""
    return json.dumps([_plain(entry) for entry in found], indent=1, ensure_ascii=False)


def as_csv(found: Sequence[Entry]) -> str:
    """Returns a row for each run or sweep and task."""
    rows = []
    for entry in found:
        plain = _plain(entry)
        scores = plain.pop("scores")
        plain["resume"] = shlex.join(entry.resume)
        names = [*scores, *(task for task in plain.pop("tasks") if not scores)] or [""]
        rows += [{**plain, "task": name, **scores.get(name, {})} for name in names]
    columns = [
        "kind",
        "name",
        "state",
        "task",
        "metric",
        "score",
        "best",
        "age_s",
        "newest",
        "bytes",
        "folder",
        "owner",
    ]
    frame = pd.DataFrame(rows, columns=[*columns, "tracking_uri", "experiment", "resume", "fault", "waiting"])
    return str(frame.to_csv(index=False))


def _score_lines(entry: Entry) -> list[str]:
    what = "epoch" if entry.kind == "run" else "trial"
    scored = [
        f"{task} {score.metric} {score.value:.4f} ({what} {score.number})" for task, score in entry.scores.items()
    ]
    if entry.kind == "sweep":
        return scored or [f"{'+'.join(entry.tasks)} –"]
    return [*scored, *(f"{task} –" for task in entry.tasks if task not in entry.scores)]


def _plain(entry: Entry) -> dict[str, Any]:
    scores = {
        task: {"metric": one.metric, "score": one.value if math.isfinite(one.value) else None, "best": one.number}
        for task, one in entry.scores.items()
    }
    return {
        "kind": entry.kind,
        "name": entry.name,
        "state": entry.state,
        "owner": entry.owner,
        "tasks": list(entry.tasks),
        "scores": scores,
        "age_s": round(entry.age),
        "newest": datetime.fromtimestamp(entry.at).astimezone().isoformat(timespec="seconds"),
        "bytes": entry.size,
        "folder": entry.folder.uri,
        "resume": entry.resume,
        "tracking_uri": entry.tracking_uri,
        "experiment": entry.experiment,
        "fault": entry.fault,
        "waiting": entry.waiting,
    }
