"""Opening of files with care: regular ones only, within a limit of bytes and pixels."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from PIL import Image

from refusion.config.ranges import DEFAULT_MEGAPIXELS
from refusion.errors import UserError

# RGBA of 16 bits, uncompressed; what is smaller than the least is never refused for its bytes.
_BYTES_A_PIXEL = 8
_LEAST_BYTES = 1 << 20
_MEGA = 1_000_000


class UnreadableImageError(UserError):
    """A file that is no usable image; ``what`` gives the reason, without the file's name."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Path, str]]:
        return type(self), (self.path, self.what)


def read_bytes(path: Path, megapixels: float = DEFAULT_MEGAPIXELS) -> bytes:
    """Returns the whole of a regular file, or of one that a link leads to.

    Args:
        path: the file.
        megapixels: pixels that a picture may have, in millions; a file may have eight bytes for each.

    Raises:
        UnreadableImageError: the system cannot read it, it is no regular file (a pipe, a device), empty, or too large.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImageError(path, "cannot be read (it is no regular file)")
            most = max(int(megapixels * _MEGA * _BYTES_A_PIXEL), _LEAST_BYTES)
            if status.st_size > most:
                raise UnreadableImageError(
                    path, f"is too large ({status.st_size / _MEGA:.0f} MB): --max-megapixels raises the limit"
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(most + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise UnreadableImageError(path, f"cannot be read ({error.strerror})") from error
    if not data:
        raise UnreadableImageError(path, "is empty")
    return data


def check_pixels(path: Path, height: int, width: int, megapixels: float) -> None:
    """Checks a size before its pixels are decoded.

    Raises:
        UnreadableImageError: it has no pixels, or more than that many millions.
    """
    if height < 1 or width < 1:
        raise UnreadableImageError(path, f"has no pixels ({width}×{height})")
    if height * width > megapixels * _MEGA:
        raise UnreadableImageError(
            path,
            f"is too large ({width}×{height} pixels, more than {megapixels:g} million): --max-megapixels raises it",
        )


class Allowance:
    """Keeps what threads decode at once within a number of pixels; a picture that is larger goes alone.

    >>> with Allowance(100).taken(150):
    ...     pass
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken, self._changed = most, 0, Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Waits until there is room for so many pixels, and takes it until the end of the ``with`` statement."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


def declared_pixels(data: bytes) -> int:
    """Returns the pixels that a file's header declares, or as many as it has bytes where Pillow does not know it."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return int(picture.width * picture.height)
    except Exception:  # noqa: BLE001
        return len(data)  # what is damaged is told when it is decoded
