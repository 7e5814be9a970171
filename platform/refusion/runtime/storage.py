"""Folders of runs, on a local or shared disk or in an object store."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow
import pyarrow.fs

from refusion.buckets.faults import StoreAwayError, StoreRefusedError, in_words
from refusion.buckets.filesystem import is_in_s3, open_uri, require_bucket
from refusion.errors import UserError


@dataclass(frozen=True)
class Folder:
    """A folder by its path or URI; ``s3://…`` and ``gs://…`` work wherever Ray can write checkpoints.

    ``uri`` is absolute: workers and jobs start in other folders.
    """

    uri: str

    @staticmethod
    def at(place: str | Path) -> Folder:
        """Returns the folder that a user named: a URI stays one, a path becomes absolute.

        Raises:
            UserError: there is no such kind of storage, or no such bucket, or it may not be used.
            StoreAwayError: its store does not answer.
        """
        text = str(place)
        if text.startswith("file:") and not text.startswith("file://"):
            text = unquote(urlsplit(text).path)
        folder = Folder(text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve()))
        try:
            folder._open()
            if is_in_s3(folder.uri):
                require_bucket(folder.uri)
        except (StoreAwayError, UserError) as error:
            raise type(error)(f"--storage {place}: {error}") from error
        except (pyarrow.ArrowInvalid, ValueError, OSError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise UserError(f"--storage {place}: is no folder or URI that can be used ({reason})") from error
        return folder

    def _open(self) -> tuple[pyarrow.fs.FileSystem, str]:
        return open_uri(self.uri)

    def for_ray(self) -> dict[str, Any]:
        """Returns the options by which Ray's RunConfig stores there: in S3 by the file system that this class uses."""
        if not is_in_s3(self.uri):
            return {"storage_path": self.uri}
        filesystem, path = self._open()
        return {"storage_path": path, "storage_filesystem": filesystem}

    def as_checkpoint(self) -> dict[str, Any]:
        """Returns the arguments by which Ray's Checkpoint is this folder."""
        if not is_in_s3(self.uri):
            return {"path": self.uri}
        filesystem, path = self._open()
        return {"path": path, "filesystem": filesystem}

    def of_ray(self, path: str) -> Folder:
        """Returns the folder that Ray calls ``path``, in the same store as this one: in S3 it leaves the scheme out."""
        return Folder(f"s3://{path}" if is_in_s3(self.uri) else path)

    @property
    def _bucket(self) -> str:
        return urlsplit(self.uri).netloc

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.uri}/{name}")

    def exists(self) -> bool:
        """Tells if there is a file or folder of this name."""
        filesystem, path = self._open()
        return bool(filesystem.get_file_info(path).type != pyarrow.fs.FileType.NotFound)

    def read_text(self) -> str:
        """Reads this file."""
        return self.read_bytes().decode()

    def read_bytes(self) -> bytes:
        """Reads this file as it is."""
        filesystem, path = self._open()
        with in_words(self._bucket), filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def write_text(self, text: str) -> None:
        """Write this file, making its folders; what stood there stays whole until the new text does."""
        filesystem, path = self._open()
        if is_in_s3(self.uri):
            # An object is there when it is whole.
            with in_words(self._bucket), filesystem.open_output_stream(path) as stream:
                stream.write(text.encode())
            return
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(f"{path}.part") as stream:
            stream.write(text.encode())
        filesystem.move(f"{path}.part", path)

    def require_writable(self) -> None:
        """Creates this folder where it is missing, and checks that files can be written to it.

        Raises:
            UserError: they cannot.
        """
        probe = self / f".probe-{secrets.token_hex(4)}"
        filesystem, path = probe._open()
        try:
            probe.write_text("")
            filesystem.delete_file(path)
        except (StoreAwayError, StoreRefusedError) as error:
            raise type(error)(f"--storage {error}") from error
        except (pyarrow.ArrowException, OSError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise UserError(
                f"{self.uri} cannot be written to ({reason}): give another --storage, or set REFUSION_HOME"
            ) from error

    def replace_by(self, source: Folder) -> None:
        """Make this folder a copy of ``source``; on a disk, what stood here stays whole until the copy does.

        Raises:
            OSError: the copy cannot be written, most often since the disk is full.
        """
        filesystem, path = self._open()
        if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            _replace_on_disk(source, Path(path))
            return
        source._copy_to(filesystem, path)
        for info in filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True)):
            name = str(info.path).removeprefix(f"{path}/")
            if info.type == pyarrow.fs.FileType.File and not (source / name).exists():
                filesystem.delete_file(info.path)

    def _copy_to(self, filesystem: pyarrow.fs.FileSystem, path: str) -> None:
        own_filesystem, own_path = self._open()
        filesystem.create_dir(path, recursive=True)
        with in_words(self._bucket or path.partition("/")[0]):
            pyarrow.fs.copy_files(own_path, path, source_filesystem=own_filesystem, destination_filesystem=filesystem)

    def remove(self) -> None:
        """Remove this folder and all in it, where it exists."""
        filesystem, path = self._open()
        if self.exists():
            filesystem.delete_dir(path)

    def remove_file(self) -> None:
        """Remove this file."""
        filesystem, path = self._open()
        filesystem.delete_file(path)

    def usage(self) -> tuple[int, float]:
        """Bytes of all files below this folder, and when the newest was written, seconds since 1970; 0 without any."""
        filesystem, path = self._open()
        below = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True)
        files = [info for info in filesystem.get_file_info(below) if info.type == pyarrow.fs.FileType.File]
        return sum(info.size for info in files), max((info.mtime_ns or 0 for info in files), default=0) / 1e9

    def names(self) -> list[str]:
        """Names of the files and folders in this folder, sorted; none where it does not exist."""
        filesystem, path = self._open()
        found = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
        return sorted(str(info.base_name) for info in found)


def _replace_on_disk(source: Folder, place: Path) -> None:
    """Writes the copy beside, brings it to the disk, and renames it."""
    new, old = (place.with_name(f".{place.name}.{end}") for end in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        source._copy_to(pyarrow.fs.LocalFileSystem(), str(new))
        for file in [*new.rglob("*"), new]:
            _sync(file)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if place.exists():
        place.rename(old)
    new.rename(place)
    _sync(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
