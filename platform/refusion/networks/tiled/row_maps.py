"""Feature maps of a whole picture that are read and written some rows at a time: in memory, or in a file if large."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch

from refusion.errors import UserError

# Of a map of 32 channels 8 million pixels: with all else well within 2 GB.
MOST_BYTES_IN_MEMORY = 1 << 30
# Survives where /tmp is memory itself.
_ROOMY = Path("/var/tmp")
_NAMED = ("TMPDIR", "TEMP", "TMP")


class RowMap(AbstractContextManager["RowMap"], ABC):
    """A map (H, W, C) of one picture; at the end of a ``with`` statement it is gone."""

    @abstractmethod
    def read(self, top: int, bottom: int) -> torch.Tensor:
        """Returns rows, (1, rows, W, C); they may be a view that a later `write` changes."""

    @abstractmethod
    def write(self, top: int, rows: torch.Tensor) -> None:
        """Puts rows (1, rows, W, C) in their place, the first at ``top``."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def row_map(height: int, width: int, channels: int, like: torch.Tensor) -> RowMap:
    """Returns a map (H, W, C) of the type and on the device of ``like``, on disk where it is large.

    On a GPU it is in its memory where that has twice the room.

    Raises:
        UserError: the disk has no room for it.
    """
    size = height * width * channels * like.element_size()
    on_gpu = like.device.type == "cuda"
    most = torch.cuda.mem_get_info(like.device)[0] // 2 if on_gpu else MOST_BYTES_IN_MEMORY
    if size <= most:
        return _InMemory(like.new_empty((1, height, width, channels)))
    return _OnDisk((width, channels), size, like)


class _InMemory(RowMap):
    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def read(self, top: int, bottom: int) -> torch.Tensor:
        return self._values[:, top:bottom]

    def write(self, top: int, rows: torch.Tensor) -> None:
        self._values[:, top : top + rows.shape[1]] = rows


class _OnDisk(RowMap):
    """A file without a name, which the system frees however the process ends.

    It is read and written, not mapped: pages of a mapped file count as the process's memory, and a full disk ends a
    process that writes to them.
    """

    def __init__(self, row: tuple[int, int], size: int, like: torch.Tensor) -> None:
        self._row, self._size, self._like = row, size, like
        self._folder = temporary_folder()
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._no_room(error) from error
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
            else:
                self._file.truncate(size)
        except OSError as error:
            self._file.close()
            raise self._no_room(error) from error

    def read(self, top: int, bottom: int) -> torch.Tensor:
        rows = torch.empty((1, bottom - top, *self._row), dtype=self._like.dtype)
        self._seek(top)
        left = _bytes_of(rows)
        while left:
            left = left[self._file.readinto(left) or _truncated(self._folder) :]  # type: ignore[attr-defined]
        return rows.to(self._like.device)

    def write(self, top: int, rows: torch.Tensor) -> None:
        self._seek(top)
        left = _bytes_of(rows.cpu().contiguous())
        while left:
            try:
                left = left[self._file.write(left) :]
            except OSError as error:
                raise self._no_room(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()

    def _seek(self, row: int) -> None:
        self._file.seek(row * prod(self._row) * self._like.element_size())

    def _no_room(self, error: OSError) -> UserError:
        return UserError(
            f"{self._folder}: a picture of this size needs {self._size / 1e9:.1f} GB there while it is fused "
            f"({error.strerror}); make room, or name another folder by the environment variable TMPDIR"
        )


def temporary_folder() -> Path:
    """Returns the folder for large temporary files: that which TMPDIR, TEMP or TMP names, else one on a disk."""
    named = any(os.environ.get(name) for name in _NAMED)
    if not named and os.access(_ROOMY, os.W_OK | os.X_OK):
        return _ROOMY
    return Path(tempfile.gettempdir())


def _bytes_of(rows: torch.Tensor) -> memoryview:
    return rows.numpy().reshape(-1).view("u1").data


def _truncated(folder: Path) -> int:
    raise UserError(f"{folder}: a temporary file was cut short by another process; fuse again")
