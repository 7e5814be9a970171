"""Folders of runs, on a local or shared disk or in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs

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
            UserError: there is no such kind of storage.
        """
        text = str(place)
        folder = Folder(text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve()))
        try:
            folder._open()
        except (pyarrow.ArrowInvalid, ValueError, OSError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise UserError(f"--storage {text}: is no folder or URI that can be used ({reason})") from error
        return folder

    def _open(self) -> tuple[pyarrow.fs.FileSystem, str]:
        found: tuple[pyarrow.fs.FileSystem, str] = pyarrow.fs.FileSystem.from_uri(self.uri)
        return found

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
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def write_text(self, text: str) -> None:
        """Write this file, making its folders; what stood there stays whole until the new text does."""
        filesystem, path = self._open()
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(f"{path}.part") as stream:
            stream.write(text.encode())
        filesystem.move(f"{path}.part", path)

    def replace_by(self, source: Folder) -> None:
        """Make this folder a copy of ``source``; what stood here before is gone."""
        filesystem, path = self._open()
        if self.exists():
            filesystem.delete_dir(path)
        filesystem.create_dir(path, recursive=True)
        source_filesystem, source_path = source._open()
        pyarrow.fs.copy_files(source_path, path, source_filesystem=source_filesystem, destination_filesystem=filesystem)

    def remove(self) -> None:
        """Remove this folder and all in it, where it exists."""
        filesystem, path = self._open()
        if self.exists():
            filesystem.delete_dir(path)

    def names(self) -> list[str]:
        """Names of the files and folders in this folder, sorted; none where it does not exist."""
        filesystem, path = self._open()
        found = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
        return sorted(str(info.base_name) for info in found)
