"""Claim of a job on the folder of its run: at most one job at a time, on whatever machine, goes on with a run.

A claim is a file with its owner and a number that grows while the owner lives. On a disk, also one that machines share,
it is created exclusively; an object store has no such thing, so that a claim there is read again after a moment.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from refusion.errors import UserError
from refusion.runtime.ending import local_path
from refusion.runtime.storage import Folder

CLAIM_FILE = "claim.json"
# Seconds between two signs of life, and after how many without one an owner on another machine is looked at closely.
BEAT = 10.0
_QUIET = 60.0
# An owner that no job watched for a sign of life counts as gone only after so many.
_LONG_QUIET = 600.0
# Seconds in which another job that claims at the same moment has written to an object store.
_SETTLING = 2.0


@dataclass(frozen=True)
class Claim:
    """Content of the file.

    Attributes:
        token: of the job.
        host: for people to read.
        machine: what tells machines apart, and containers of one.
        pid, started: of the process; another one may have its number later.
        beat: grows with each sign of life.
        at: time of the last one, seconds since 1970 by the owner's clock.
    """

    token: str
    host: str
    machine: str
    pid: int
    started: float
    beat: int
    at: float

    @staticmethod
    def mine() -> Claim:
        """Returns a new claim of this process."""
        pid = os.getpid()
        token = secrets.token_hex(8)
        return Claim(token, socket.gethostname(), _machine(), pid, psutil.Process(pid).create_time(), 0, time.time())

    @staticmethod
    def read(folder: Folder) -> Claim | None:
        """Reads the claim on a folder; None where there is none, or one that was cut off while it was written."""
        try:
            return Claim(**json.loads((folder / CLAIM_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def text(self) -> str:
        """Content of the file."""
        return json.dumps(asdict(self))

    @property
    def owner(self) -> str:
        """The owner in words."""
        return f"process {self.pid} on {self.host}"

    @property
    def lives_here(self) -> bool | None:
        """True where the owner lives; None where it is not of this machine, which cannot know."""
        if self.machine != _machine():
            return None
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1
        except psutil.NoSuchProcess:
            return False


def _machine() -> str:
    parts = [socket.gethostname()]
    for file in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with suppress(OSError):
            parts.append(Path(file).read_text().strip())
            break
    # Containers of one machine number their processes apart.
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def abandoned(folder: Folder) -> Claim | None:
    """Returns the claim of a job that is gone without giving it back; None where there is none, or it may live."""
    claim = Claim.read(folder)
    if claim is None:
        return None
    lives = claim.lives_here
    gone = not lives if lives is not None else time.time() - claim.at > _LONG_QUIET
    return claim if gone else None


def refuse_claimed(folder: Folder, what: str) -> Claim | None:
    """Returns the claim of a former owner that is gone, if there is one; waits for a sign of life where it must.

    Args:
        folder: of the run.
        what: begins the sentence, such as ``--resume NAME``.

    Raises:
        UserError: the owner lives.
    """
    claim = Claim.read(folder)
    if claim is None:
        return None
    lives = claim.lives_here
    if lives is None:
        lives = abs(time.time() - claim.at) < _QUIET or _shows_life(folder, claim)
    if lives:
        raise UserError(
            f"{what}: {claim.owner} is at work on it (last sign of life {max(0, time.time() - claim.at):.0f} s ago); "
            "wait until that has ended, or stop it"
        )
    return claim


def _shows_life(folder: Folder, claim: Claim) -> bool:
    # Clocks of machines differ: what counts is that the number grows.
    deadline = time.monotonic() + 2.5 * BEAT
    while time.monotonic() < deadline:
        time.sleep(1)
        now = Claim.read(folder)
        if now is not None and (now.token, now.beat) != (claim.token, claim.beat):
            return True
    return False


@contextmanager
def claimed(folder: Folder, what: str, lost: Callable[[str], None]) -> Iterator[Claim | None]:
    """Holds the claim on a folder, which is made where it is missing, and gives it back at the end.

    Args:
        folder: of the run.
        what: begins the sentence of a refusal.
        lost: called, in another thread, with a sentence where another job has taken the claim nevertheless.

    Returns:
        The claim of a former owner that is gone; None where there was none.

    Raises:
        UserError: another job holds it.
    """
    former, mine = refuse_claimed(folder, what), Claim.mine()
    if not _take(folder, mine, former):
        refuse_claimed(folder, what)
        raise UserError(f"{what}: another job has begun to work on it at this moment; wait until that has ended")
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(folder, mine, ended, lost), daemon=True)
    beats.start()
    try:
        yield former
    finally:
        ended.set()
        beats.join()
        now = Claim.read(folder)
        if now is not None and now.token == mine.token:
            (folder / CLAIM_FILE).remove_file()
            # A job that was refused leaves no folder, whose name would be taken.
            if (place := local_path(folder.uri)) is not None:
                with suppress(OSError):
                    place.rmdir()
            elif not folder.names():
                folder.remove()


def _take(folder: Folder, mine: Claim, former: Claim | None) -> bool:
    place = local_path(folder.uri)
    file = folder / CLAIM_FILE
    if place is None:
        file.write_text(mine.text)
        time.sleep(_SETTLING)
        now = Claim.read(folder)
        return now is not None and now.token == mine.token
    place.mkdir(parents=True, exist_ok=True)
    if not _set_aside(place, mine, former):
        return False
    part = place / f".{CLAIM_FILE}.{mine.token}.new"
    part.write_text(mine.text)
    try:
        # As exclusive as O_EXCL, also on NFS, and the content is there at once.
        os.link(part, place / CLAIM_FILE)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _set_aside(place: Path, mine: Claim, former: Claim | None) -> bool:
    """Removes the former owner's claim; false where another job was faster and has its own there."""
    aside = place / f".{CLAIM_FILE}.{mine.token}"
    if former is None and _token(place / CLAIM_FILE):
        return False
    try:
        # Of several jobs that find it abandoned, one alone can rename it.
        (place / CLAIM_FILE).rename(aside)
    except FileNotFoundError:
        return True
    found = _token(aside)
    is_former = found is None or (former is not None and found == former.token)
    if not is_former:
        with suppress(FileExistsError):
            os.link(aside, place / CLAIM_FILE)
    aside.unlink()
    return is_former


def _token(file: Path) -> str | None:
    """Returns the token of a claim; None where there is none, or one that was cut off while it was written."""
    try:
        return str(json.loads(file.read_text())["token"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _beat(folder: Folder, mine: Claim, ended: threading.Event, lost: Callable[[str], None]) -> None:
    while not ended.wait(BEAT):
        now = Claim.read(folder)
        if now is not None and now.token != mine.token:
            lost(f"{folder.uri}: {now.owner} has taken this run over; this job ends")
            return
        mine = replace(mine, beat=mine.beat + 1, at=time.time())
        # A storage that is away for a moment ends nothing.
        with suppress(OSError):
            (folder / CLAIM_FILE).write_text(mine.text)
