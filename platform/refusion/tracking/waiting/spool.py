"""Folder of writes to MLflow that wait: each an entry of its own, added and removed whole, read in the order of adding.

FOLDER/records/NUMBER/entry.json      numbers, tags, texts, runs that begin and end
FOLDER/models/NUMBER/…                with the files that it needs
FOLDER/pictures/NUMBER/…
FOLDER/runs.json                      ids of the runs that MLflow has begun
FOLDER/left_out.txt                   a line for each write that will never be done
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Lane = Literal["records", "models", "pictures"]
# Records go first: what the others need is there then.
LANES: tuple[Lane, ...] = ("records", "models", "pictures")
# Of those only that carry files; records are small, and never dropped.
DROPPED: tuple[Lane, ...] = ("pictures", "models")
MAX_BYTES = 2**30
# File, or folder of files, that an entry carries.
CONTENT = "content"
_ENTRY_FILE, _MARK = "entry.json", "attempted"
_IDS_FILE, _LEFT_OUT_FILE = "runs.json", "left_out.txt"
_UNFINISHED = "."


@dataclass(frozen=True)
class Entry:
    """A write that waits.

    Attributes:
        folder: its own, which also holds the files that it carries.
        token: tells it from all other entries, also in MLflow.
        run: key of the run that it belongs to, or that run's id.
        what: description for people.
        kind: of the operation, see ``operations``.
        data: all that the operation needs besides the files.
    """

    folder: Path
    token: str
    run: str
    what: str
    kind: str
    data: Mapping[str, Any]

    @property
    def attempted(self) -> bool:
        """True where an attempt has begun, so that MLflow may have it in part or whole."""
        return (self.folder / _MARK).exists()

    def mark(self) -> None:
        """Notes that an attempt begins."""
        (self.folder / _MARK).touch()


class Spool:
    """The folder; several processes may add to it, one at a time writes to MLflow what waits.

    Args:
        folder: made at the first entry.
        durable: bring each entry to the disk, so that it outlives a power cut too.
        max_bytes: beyond which pictures, then models, are left out, the oldest first.
    """

    def __init__(self, folder: Path, *, durable: bool = True, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._durable = durable
        self._max_bytes = max_bytes

    def add(
        self,
        lane: Lane,
        run: str,
        what: str,
        kind: str,
        data: Mapping[str, Any],
        files: Mapping[str, bytes | Path] | None = None,
    ) -> Path:
        """Adds an entry, whole or not at all, and returns its folder.

        Args:
            lane, run, what, kind, data: see ``Entry``; ``data`` as JSON has it.
            files: by name, the bytes, or a file or folder that is copied.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        place = self.folder / lane
        place.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(8)
        part = place / f"{_UNFINISHED}{token}"
        try:
            part.mkdir()
            for name, content in (files or {}).items():
                _put(part / name, content)
            text = json.dumps({"token": token, "run": run, "what": what, "kind": kind, "data": data})
            (part / _ENTRY_FILE).write_text(text, encoding="utf-8")
            if self._durable:
                for file in (*(one for one in part.rglob("*") if one.is_file()), part):
                    _sync(file)
            added = _renamed_after_the_last(part)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if self._durable:
            _sync(place)
        if files:
            self._keep_to_limit()
        return added

    def folders(self, lane: Lane) -> list[Path]:
        """Returns the folders of a lane's entries, the oldest first."""
        return _folders(self.folder / lane)

    def entries(self, lane: Lane) -> Iterator[Entry]:
        """Yields a lane's entries, the oldest first; one that cannot be read is left out."""
        for folder in self.folders(lane):
            entry = self.read(folder)
            if entry is not None:
                yield entry

    def read(self, folder: Path) -> Entry | None:
        """Reads an entry; None where it is gone, or is damaged and therefore left out."""
        try:
            return Entry(folder, **json.loads((folder / _ENTRY_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            if folder.exists():
                self.leave_out(folder, folder.name, f"its entry cannot be read: {error}")
            return None

    def remove(self, folder: Path) -> bool:
        """Removes an entry whole; False where it was gone already."""
        gone = folder.with_name(f"{_UNFINISHED}{folder.name}-{secrets.token_hex(4)}")
        try:
            folder.rename(gone)
        except FileNotFoundError:
            return False
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def leave_out(self, folder: Path, what: str, why: str) -> None:
        """Removes an entry that will never be written, and notes it."""
        if self.remove(folder):
            self.note_left_out(what, why)

    def note_left_out(self, what: str, why: str) -> None:
        """Notes a write that will never be done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LEFT_OUT_FILE).open("a", encoding="utf-8") as file:
            file.write(" ".join(f"{what}: {why}".split()) + "\n")

    @property
    def left_out(self) -> list[str]:
        """A line for each write that will never be done."""
        file = self.folder / _LEFT_OUT_FILE
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    @property
    def waiting(self) -> int:
        """Number of entries."""
        return sum(len(self.folders(lane)) for lane in LANES)

    @property
    def size(self) -> int:
        """Bytes of the files that entries carry."""
        return sum(_size(folder) for lane in DROPPED for folder in self.folders(lane))

    @property
    def ids(self) -> dict[str, str]:
        """Ids of the runs that MLflow has begun, by key."""
        file = self.folder / _IDS_FILE
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def runs(self) -> list[str]:
        """Returns the keys of all runs that are begun, or will be."""
        beginning = [entry.run for entry in self.entries("records") if entry.kind == "begin"]
        return list(dict.fromkeys([*self.ids, *beginning]))

    def add_id(self, run: str, run_id: str) -> None:
        """Notes the id of a run; only who writes to MLflow does so."""
        part = self.folder / f"{_UNFINISHED}{_IDS_FILE}"
        part.write_text(json.dumps({**self.ids, run: run_id}), encoding="utf-8")
        if self._durable:
            _sync(part)
        part.replace(self.folder / _IDS_FILE)

    def tidy(self) -> None:
        """Removes what a killed job has left half added or half removed; nobody else may be at work here."""
        for lane in LANES:
            for left in (self.folder / lane).glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)

    def _keep_to_limit(self) -> None:
        excess = self.size - self._max_bytes
        for lane in DROPPED:
            for folder in self.folders(lane):
                if excess <= 0:
                    return
                excess -= _size(folder)
                entry = self.read(folder)
                if entry is not None:
                    self.leave_out(folder, entry.what, f"more than {self._max_bytes / 2**20:.0f} MB waited")


def waiting_epochs(spool: Spool, run: str) -> set[int]:
    """Returns the epochs of a run whose numbers wait."""
    entries = (entry for entry in spool.entries("records") if entry.run == run and entry.kind == "metrics")
    return {int(entry.data["epoch"]) for entry in entries if "epoch" in entry.data}


def _folders(place: Path) -> list[Path]:
    try:
        names = [name for name in os.listdir(place) if not name.startswith(_UNFINISHED)]  # noqa: PTH208
    except FileNotFoundError:
        return []
    return [place / name for name in sorted(names)]


def _renamed_after_the_last(part: Path) -> Path:
    """Returns the entry under its number: the time, and always above those that wait already."""
    while True:
        there = _folders(part.parent)
        number = max(time.time_ns(), int(there[-1].name) + 1 if there else 0)
        added = part.with_name(f"{number:020d}")
        try:
            return part.rename(added)
        except OSError:
            # Another process has added one of that number; anything else is no reason to go on.
            if not added.exists():
                raise


def _put(place: Path, content: bytes | Path) -> None:
    place.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        place.write_bytes(content)
    elif content.is_dir():
        shutil.copytree(content, place)
    else:
        shutil.copy2(content, place)


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
