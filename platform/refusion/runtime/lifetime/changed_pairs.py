"""Pairs that a run began with, by name and digest, and what has become of them when it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping

from refusion.runtime.storage import Folder

PAIRS_FILE = "pairs.json"
# So many names are listed of each kind of change.
_LISTED = 5

Digests = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By task, split and the pair's name."""


def write_pairs(folder: Folder, pairs: Digests) -> None:
    """Write the file of a run's folder; tasks that an earlier part of the run had stay."""
    (folder / PAIRS_FILE).write_text(json.dumps({**read_pairs(folder), **pairs}))


def read_pairs(folder: Folder) -> Digests:
    """Reads the file of a run's folder; empty where an earlier version has written none."""
    file = folder / PAIRS_FILE
    return dict(json.loads(file.read_text())) if file.exists() else {}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Says which pairs were added, removed and edited, from their digests by name.

    >>> differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    '1 added (c), 1 removed (a), 1 edited (b)'
    """
    changes = {
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "edited": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
    }
    return ", ".join(f"{len(names)} {how} ({_some(names)})" for how, names in changes.items() if names)


def _some(names: list[str]) -> str:
    return ", ".join([*names[:_LISTED], *["…"] * (len(names) > _LISTED)])
