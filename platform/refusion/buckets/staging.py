"""Files of an object store, staged in a bounded cache on this machine, which all of its processes share.

Each state of a prefix has a folder of its own, which never changes: one whose objects have changed is staged beside it,
with links to what stayed the same, and jobs that read the earlier one go on with that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow.fs

from refusion.buckets.faults import in_words
from refusion.buckets.filesystem import open_uri, require_bucket
from refusion.buckets.room import Cache
from refusion.checksums import sha256
from refusion.errors import UserError

_AT_ONCE = 8
_BLOCK = 1 << 20
# Folders that this process has checked and uses, with the open files that say so to others.
_in_use: dict[Path, IO[bytes]] = {}


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


@dataclass(frozen=True)
class _Listed:
    """An object: its size in bytes, and when it was written, ns since 1970."""

    path: str
    size: int
    at: int


def staged(uri: str, option: str, *, expected: Path | None = None, say: Callable[[str], None] = _to_stderr) -> Path:
    """Returns the folder on this machine with what lies below ``uri``; fetches what is not there, or is damaged.

    Args:
        uri: a prefix, or one object, whose file is returned then.
        option: that names it, in messages.
        expected: folder that another machine of the same job has staged it to.
        say: called with a line where something is fetched, and where something is removed for it.

    Raises:
        UserError: there is nothing there, it has changed since ``expected`` was staged, its keys are no file names, or
            it is larger than the cache may be.
        StoreRefusedError, StoreAwayError: the store.
    """
    uri = uri.rstrip("/")
    filesystem, path = open_uri(uri)
    objects, single = _listing(uri, option, filesystem, path)
    cache = Cache.of_this_machine() if expected is None else Cache(expected.parent)
    folder = cache.root / _name(uri, objects)
    if expected is not None and folder != expected:
        raise UserError(f"{option} {uri}: its objects have changed since the job began; resume it, or begin it anew")
    if folder not in _in_use or not folder.is_dir():
        cache.root.mkdir(parents=True, exist_ok=True)
        with _locked(cache.lock_of(folder)):
            _in_use[folder] = cache.use(folder)
            _complete(uri, option, filesystem, objects, cache, folder, say)
    return folder / single if single else folder


def _listing(
    uri: str, option: str, filesystem: pyarrow.fs.FileSystem, path: str
) -> tuple[dict[str, _Listed], str | None]:
    """Returns the objects by their relative names, and the one's name where ``uri`` is that of an object."""
    below = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True)
    found = [info for info in filesystem.get_file_info(below) if info.type == pyarrow.fs.FileType.File]
    single = None
    if not found:
        require_bucket(uri)
        info = filesystem.get_file_info(path)
        if info.type != pyarrow.fs.FileType.File:
            raise UserError(f"{option} {uri}: there is no object of this key, and none below it")
        found, single = [info], PurePosixPath(path).name
    objects: dict[str, _Listed] = {}
    for info in found:
        name = single or str(info.path).removeprefix(f"{path}/")
        if {"", ".", ".."} & set(name.split("/")):
            raise UserError(f"{option} {uri}: the key {info.path} is no file's name; remove it, or give another prefix")
        objects[name] = _Listed(str(info.path), int(info.size), int(info.mtime_ns))
    return objects, single


def _name(uri: str, objects: Mapping[str, _Listed]) -> str:
    listed = json.dumps([[name, each.size, each.at] for name, each in sorted(objects.items())])
    digests = (hashlib.sha256(text.encode()).hexdigest()[:12] for text in (uri, listed))
    return "-".join(digests)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _complete(
    uri: str,
    option: str,
    filesystem: pyarrow.fs.FileSystem,
    objects: Mapping[str, _Listed],
    cache: Cache,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Fetches what is missing, links what an earlier state has, and records all digests beside the folder."""
    digests = _sound(folder, cache.digests_of(folder))
    before = cache.earlier_of(folder)
    missing = {name: each for name, each in objects.items() if name not in digests}
    if before is not None:
        with cache.use(before):
            digests |= _linked(before, folder, _unchanged(cache, before, missing))
        missing = {name: each for name, each in missing.items() if name not in digests}
    size = sum(each.size for each in missing.values())
    for line in cache.make_room(folder, f"{option} {uri}", sum(each.size for each in objects.values()), size):
        say(line)
    bucket = next(iter(objects.values())).path.partition("/")[0]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = list(missing)
        fetched = pool.map(lambda name: _fetch(filesystem, bucket, missing[name], folder / name), names)
        digests |= dict(zip(names, fetched, strict=True))
    times = {name: each.at for name, each in objects.items()}
    cache.record(folder, {"uri": uri, "digests": {name: digests[name] for name in objects}, "times": times})
    if missing:
        say(f"{uri}: {len(missing)} of {len(objects)} files fetched ({size / 1e6:.1f} MB) into {folder}")


def _sound(folder: Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Returns those digests whose files are as they were fetched."""
    files = {name: folder / name for name in digests}
    return {name: digests[name] for name, file in files.items() if file.is_file() and sha256(file) == digests[name]}


def _unchanged(cache: Cache, before: Path, objects: Mapping[str, _Listed]) -> dict[str, str]:
    """Returns the digests of the objects that an earlier folder has as they are now."""
    times, digests = cache.times_of(before), cache.digests_of(before)
    return {
        name: digests[name]
        for name, each in objects.items()
        if times.get(name) == each.at and (before / name).is_file() and (before / name).stat().st_size == each.size
    }


def _linked(before: Path, folder: Path, digests: Mapping[str, str]) -> dict[str, str]:
    found = _sound(before, digests)
    for name in found:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        os.link(before / name, folder / name)
    return found


def _fetch(filesystem: pyarrow.fs.FileSystem, bucket: str, listed: _Listed, file: Path) -> str:
    """Fetches an object; the file has its name when it is whole. Returns its SHA-256."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part, digest = file.with_name(f".{file.name}.part"), hashlib.sha256()
    with in_words(bucket):
        source: Any = filesystem.open_input_stream(listed.path)
        with source, part.open("wb") as target:
            while block := source.read(_BLOCK):
                digest.update(block)
                target.write(block)
    if part.stat().st_size != listed.size:
        part.unlink()
        raise UserError(f"s3://{listed.path}: has changed while it was fetched; call the same command again")
    part.replace(file)
    return digest.hexdigest()
