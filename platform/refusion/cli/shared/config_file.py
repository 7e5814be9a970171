"""The file that ``--config`` names, on a disk or in a bucket."""

from __future__ import annotations

from pathlib import Path

from refusion.errors import UserError


def config_file(text: str) -> Path:
    """Returns the path that ``--config`` names; an object in S3, such as a sweep's ``best.yaml``, is fetched first.

    Raises:
        UserError: there is no such object, or it is a folder.
        StoreRefusedError, StoreAwayError: the store.
    """
    if "://" not in text:
        return Path(text)
    # pyarrow takes a moment to import.
    from refusion.buckets.filesystem import is_in_s3
    from refusion.buckets.staging import staged

    if not is_in_s3(text):
        return Path(text)
    path = staged(text, "--config")
    if path.is_dir():
        raise UserError(f"--config {text}: is a folder; name a file in it")
    return path
