"""Cache of staged folders: which there are, what they hold, and room for one more."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from refusion.errors import UserError
from refusion.home import refusion_home

BOUND = "REFUSION_CACHE_GB"
_DEFAULT_GB = 100.0
_GB = 1e9


def bound() -> float:
    """Returns the most bytes that the cache may hold.

    Raises:
        UserError: the environment's value is no number above 0.
    """
    text = os.environ.get(BOUND, "")
    try:
        gigabytes = float(text) if text else _DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise UserError(f"{BOUND}={text}: is no size; give the gigabytes that staged files may take, such as 100")
    return gigabytes * _GB


@dataclass(frozen=True)
class Cache:
    """Folders below ``root``; beside each a record, and files that are locked while it is filled or used."""

    root: Path

    @staticmethod
    def of_this_machine() -> Cache:
        """``$REFUSION_HOME/cache/staged``."""
        return Cache(refusion_home() / "cache" / "staged")

    def lock_of(self, folder: Path) -> Path:
        """Returns the file that is locked while a folder is filled."""
        return folder.with_name(f"{folder.name}.lock")

    def use(self, folder: Path) -> IO[bytes]:
        """Marks a folder as used for as long as the returned file is open, and as the newest used."""
        held = _use_of(folder).open("ab")
        fcntl.flock(held, fcntl.LOCK_SH)
        os.utime(_use_of(folder))
        return held

    def record(self, folder: Path, content: dict[str, Any]) -> None:
        """Writes what a folder holds: its ``uri``, and by relative name ``digests`` (SHA-256) and ``times``."""
        part = folder.with_name(f".{folder.name}.json")
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(_record_of(folder))

    def digests_of(self, folder: Path) -> dict[str, str]:
        """Returns the digests of a folder's files; none where it is not whole."""
        return dict(self._content(folder).get("digests", {}))

    def times_of(self, folder: Path) -> dict[str, int]:
        """Returns when its objects were written, ns since 1970."""
        return dict(self._content(folder).get("times", {}))

    def _content(self, folder: Path) -> dict[str, Any]:
        try:
            return dict(json.loads(_record_of(folder).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def earlier_of(self, folder: Path) -> Path | None:
        """Returns the newest used other folder of the same address."""
        same = [each for each in self._folders() if each != folder and _address_of(each) == _address_of(folder)]
        return max(same, key=_used_at, default=None)

    def make_room(self, folder: Path, what: str, size: int, to_come: int) -> list[str]:
        """Removes folders that nobody uses, the longest unused first, until ``folder`` may be filled.

        Args:
            folder: to be filled.
            what: names it in messages.
            size: of all its files, bytes.
            to_come: of those that are to be fetched.

        Returns:
            A line for each that was removed.

        Raises:
            UserError: it is too large for the bound or the disk, or what others use is.
        """
        most = bound()
        shown = f"{BOUND}={most / _GB:g}"
        if size > most:
            raise UserError(
                f"{what}: its {size / _GB:.3g} GB are more than staged files may take on a machine ({shown}); raise "
                "it, or give a smaller part"
            )
        said: list[str] = []
        others = sorted((each for each in self._folders() if each != folder), key=_used_at)
        while to_come and self._size() + to_come > most:
            gone = next((each for each in others if self._removed(each)), None)
            if gone is None:
                raise UserError(
                    f"{what}: {to_come / _GB:.3g} GB more would exceed {shown}, and other jobs use all else that is "
                    f"staged in {self.root}; raise it, or wait until they have ended"
                )
            others.remove(gone)
            said.append(f"{gone}: removed, to stay within {shown}")
        free = shutil.disk_usage(self.root).free
        if to_come > free:
            raise UserError(
                f"{what}: {to_come / _GB:.3g} GB are to be staged in {self.root}, whose disk has {free / _GB:.3g} GB "
                "left; make room, or set REFUSION_HOME to another disk"
            )
        return said

    def _folders(self) -> list[Path]:
        return [each for each in self.root.iterdir() if each.is_dir()]

    def _size(self) -> int:
        """Bytes of all files; one that two folders share counts once."""
        found: dict[int, int] = {}
        for at, _, names in os.walk(self.root):
            for name in names:
                with suppress(OSError):
                    facts = (Path(at) / name).stat()
                    found[facts.st_ino] = facts.st_size
        return sum(found.values())

    def _removed(self, folder: Path) -> bool:
        """Removes a folder that no process uses or fills; false where one does."""
        with self.lock_of(folder).open("ab") as filling, _use_of(folder).open("ab") as using:
            try:
                for held in (filling, using):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            _record_of(folder).unlink(missing_ok=True)
            shutil.rmtree(folder)
            _use_of(folder).unlink()
        return True


def _record_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _use_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.use")


def _address_of(folder: Path) -> str:
    return folder.name.partition("-")[0]


def _used_at(folder: Path) -> float:
    try:
        return _use_of(folder).stat().st_mtime
    except OSError:
        return 0.0
