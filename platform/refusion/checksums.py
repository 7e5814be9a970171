"""SHA-256 digests of a folder's files beside them, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from refusion.errors import UserError

CHECKSUMS_FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S[^\x00-\x1f]*)")


def sha256(file: Path) -> str:
    """Returns the SHA-256 digest of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write the digests of all files in the folder and below, once all of them are there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS_FILE)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    # Last, and whole or not at all: it says that all else is there.
    part = folder / f".{CHECKSUMS_FILE}"
    part.write_text("".join(lines), encoding="utf-8")
    part.replace(folder / CHECKSUMS_FILE)


def check_checksums(folder: Path, *, whole: bool) -> None:
    """Check the files of a folder against their digests; passes where it has none, as older checkpoints do.

    Args:
        folder: of a checkpoint.
        whole: a file that is missing is a fault too.

    Raises:
        UserError: names the first file that is missing or not as it was written.
    """
    listed = folder / CHECKSUMS_FILE
    if not listed.is_file():
        return
    try:
        # Not by splitlines, to which other characters end a line too, such as one that a flipped bit makes of its end.
        *complete, rest = listed.read_bytes().decode("utf-8").split("\n")
        lines = [_LINE.fullmatch(line) for line in complete] if not rest else [None]
    except (OSError, UnicodeDecodeError):
        lines = [None]
    if not lines or any(line is None for line in lines):
        raise UserError(f"{listed}: is damaged; take another checkpoint")
    for digest, name in (line.groups() for line in lines if line is not None):
        file = folder / name
        if file.is_file():
            if sha256(file) != digest:
                raise UserError(
                    f"{file}: is damaged: its SHA-256 is not that of {CHECKSUMS_FILE}; take another checkpoint"
                )
        elif whole:
            raise UserError(f"{file}: is missing, though {CHECKSUMS_FILE} names it; take another checkpoint")
