"""File systems by URI, of pyarrow, as Ray uses them too; those in S3 wait for a store that is away for a moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.fs

from refusion.buckets.faults import in_words
from refusion.errors import UserError

# The SDK doubles its pause from 25 ms: after so many attempts it has waited for 51 s in all.
_ATTEMPTS = 11
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# The more particular first. pyarrow reads them only where it is given a URI.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
# Options that may follow a `?` in the URI.
_OPTIONS = ("region", "endpoint_override", "scheme")


def is_in_s3(place: str) -> bool:
    """Tells if a text is the address of something in S3, or a store that speaks its language."""
    return place.startswith("s3://")


def open_uri(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the file system of a URI or an absolute path, and the path in it.

    Raises:
        UserError: the URI names no bucket, or an option that there is not.
        OSError, ValueError: as pyarrow, of other URIs that it does not know.
    """
    if not is_in_s3(uri):
        found: tuple[pyarrow.fs.FileSystem, str] = pyarrow.fs.FileSystem.from_uri(uri)
        return found
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    if not parts.netloc or not set(options) <= set(_OPTIONS):
        raise UserError(
            f"{uri}: is no address in S3; write s3://BUCKET/FOLDER, with region= or endpoint_override= after a `?` if "
            "the environment does not say them"
        )
    bucket = parts.netloc
    path = f"{bucket}/{unquote(parts.path).strip('/')}".rstrip("/")
    environment = tuple((name, os.environ.get(name)) for name in (*_REGIONS, *_ENDPOINTS, *_CREDENTIALS))
    return _patient(bucket, tuple(sorted({**_from_environment(bucket, options), **options}.items())), environment), path


def require_bucket(uri: str) -> None:
    """Checks that the bucket of a URI in S3 is there and may be used.

    Raises:
        StoreRefusedError, StoreAwayError: it is not, or does not answer.
    """
    filesystem, path = open_uri(uri)
    bucket = path.partition("/")[0]
    with in_words(bucket):
        if filesystem.get_file_info(bucket).type == pyarrow.fs.FileType.NotFound:
            raise OSError("AWS Error NO_SUCH_BUCKET during HeadBucket operation: it is not there")


def _from_environment(bucket: str, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the store's address as the environment says it, or for Amazon's own the bucket's region."""
    if "endpoint_override" in given or any(os.environ.get(name) for name in _ENDPOINTS):
        address = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
        return {"endpoint_override": address} if address else {}
    if "region" in given or any(os.environ.get(name) for name in _REGIONS):
        return {}
    return {"region": _resolved(bucket)}


@cache
def _resolved(bucket: str) -> str:
    with in_words(bucket):
        return str(pyarrow.fs.resolve_s3_region(bucket))


@cache
def _patient(
    bucket: str,
    options: tuple[tuple[str, str], ...],
    _environment: tuple[tuple[str, str | None], ...],  # Read when it is made: another one makes another.
) -> pyarrow.fs.PyFileSystem:
    return pyarrow.fs.PyFileSystem(PatientStore(bucket, dict(options)))


class PatientStore(pyarrow.fs.FileSystemHandler):
    """S3 with more retries than pyarrow's own six seconds of them, which is made anew where it is unpickled.

    Args:
        bucket: named in errors.
        options: of pyarrow's ``S3FileSystem``, as plain values; credentials are each machine's own.
    """

    def __init__(self, bucket: str, options: Mapping[str, str]) -> None:
        self.bucket, self.options = bucket, dict(options)
        retries = pyarrow.fs.AwsDefaultS3RetryStrategy(max_attempts=_ATTEMPTS)
        self.store = pyarrow.fs.S3FileSystem(**self.options, retry_strategy=retries)

    def __reduce__(self) -> tuple[type[PatientStore], tuple[str, dict[str, str]]]:
        return PatientStore, (self.bucket, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PatientStore) and (self.bucket, self.options) == (other.bucket, other.options)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def _do(self, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with in_words(self.bucket):
            return operation(*arguments, **options)

    def get_type_name(self) -> str:
        """As pyarrow's."""
        return "s3"

    def normalize_path(self, path: str) -> str:
        """As pyarrow's."""
        return str(self.store.normalize_path(path))

    def get_file_info(self, paths: Any) -> Any:
        """As pyarrow's."""
        return self._do(self.store.get_file_info, paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        """As pyarrow's."""
        return self._do(self.store.get_file_info, selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        """As pyarrow's."""
        self._do(self.store.create_dir, path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        """As pyarrow's."""
        self._do(self.store.delete_dir, path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """As pyarrow's."""
        self._do(self.store.delete_dir_contents, path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        """Deletes nothing: no job owns all of a store."""
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        """As pyarrow's."""
        self._do(self.store.delete_file, path)

    def move(self, src: str, dest: str) -> None:
        """As pyarrow's."""
        self._do(self.store.move, src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        """As pyarrow's."""
        self._do(self.store.copy_file, src, dest)

    def open_input_stream(self, path: str) -> Any:
        """As pyarrow's."""
        return self._do(self.store.open_input_stream, path)

    def open_input_file(self, path: str) -> Any:
        """As pyarrow's."""
        return self._do(self.store.open_input_file, path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        """As pyarrow's."""
        return self._do(self.store.open_output_stream, path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        """As pyarrow's."""
        return self._do(self.store.open_append_stream, path, metadata=metadata)
