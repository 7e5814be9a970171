"""The list ``fused.csv`` beside fused pictures: what was made of what, by which module, written as it goes."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from refusion.errors import UserError

LIST_FILE = "fused.csv"
FUSED, THERE, BAD = "fused", "there already", "bad"


@dataclass(frozen=True)
class Row:
    """One line of the list, all as text; empty where it is not known.

    Attributes:
        output: name of the picture's file, or of the one that there would be.
        a, b: absolute paths of the sources; of a stack a is the first, b the others, joined as in PATH.
        width, height: in pixels, of both.
        kind_a, kind_b: format and depth, such as "PNG, 16 bits".
        range_a, range_b: values that became black and white, as ``--range`` takes them.
        task: name of the fusion task.
        module: the checkpoint in words.
        weights_sha256: of its file of weights.
        settings: of the result and of adapting, as JSON.
        sources_sha256: of a's bytes followed by b's, and so on.
        seconds: that reading, fusing and writing took.
        state: "fused"; "there already", a picture that the list did not know; or "bad: " and why there is none.
    """

    output: str
    a: str = ""
    b: str = ""
    width: str = ""
    height: str = ""
    kind_a: str = ""
    kind_b: str = ""
    range_a: str = ""
    range_b: str = ""
    task: str = ""
    module: str = ""
    weights_sha256: str = ""
    settings: str = ""
    sources_sha256: str = ""
    seconds: str = ""
    state: str = ""


_COLUMNS = [column.name for column in fields(Row)]


class FusedList:
    """The list of a folder, by output; ``opened`` makes one."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows = _read(file)

    def add(self, row: Row) -> None:
        """Appends a row, which is in the file when this returns; it replaces an older one of the same output.

        Raises:
            UserError: the file cannot be written.
        """
        self.rows[row.output] = row
        try:
            with self.file.open("ab") as stream:
                stream.write(_text([row]))
        except OSError as error:
            raise UserError(f"{self.file}: cannot be written ({error.strerror})") from error

    def tidy(self) -> None:
        """Writes the file anew, one row for each output in the order of their names; whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        beside = self.file.with_name(f".{self.file.name}.part")
        content = _header() + _text([self.rows[output] for output in sorted(self.rows)])
        try:
            beside.write_bytes(content)
            beside.replace(self.file)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise UserError(f"{self.file}: cannot be written ({error.strerror})") from error


@contextmanager
def opened(folder: Path) -> Iterator[FusedList]:
    """Opens the list of a folder, which is made where it is missing, and tidies it before and after, come what may.

    Raises:
        UserError: the folder cannot be made or written, another job fuses into it, or its file is another list.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"--out {folder}: the folder cannot be made ({error.strerror})") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"--out {folder}: another job fuses into this folder; wait for it, or name another"
            ) from error
        except OSError:
            # Some shared disks lock no folders; there nobody looks after two jobs.
            pass
        listed = FusedList(folder / LIST_FILE)
        listed.tidy()
        try:
            yield listed
        finally:
            listed.tidy()
    finally:
        os.close(handle)


def _read(file: Path) -> dict[str, Row]:
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    if next(reader, None) != _COLUMNS:
        raise UserError(f"{file}: is no list of fused pictures of this version; move it, or name another --out")
    # A row that was cut off, as by a full disk, is as good as none.
    return {values[0]: Row(*values) for values in reader if len(values) == len(_COLUMNS)}


def _header() -> bytes:
    return (",".join(_COLUMNS) + "\n").encode()


def _text(rows: list[Row]) -> bytes:
    stream = io.StringIO(newline="")
    csv.DictWriter(stream, _COLUMNS, lineterminator="\n").writerows(asdict(row) for row in rows)
    # File names need not be UTF-8.
    return stream.getvalue().encode("utf-8", "surrogateescape")
