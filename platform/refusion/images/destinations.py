"""Folders that results may go to: never over, into or around their sources."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from refusion.errors import UserError


def check_destination(option: str, folder: Path, sources: Iterable[Path], targets: Iterable[Path] = ()) -> None:
    """Checks that a folder for results is none of the sources, holds none and lies in none; links are followed.

    Args:
        option: that named the folder.
        folder: where results go; it need not exist yet.
        sources: folders or files that are read.
        targets: files that will be written, none of which may be read.

    Raises:
        UserError: it is not so.

    >>> check_destination("--out", Path("data/a/fused"), [Path("data/a")])
    Traceback (most recent call last):
    refusion.errors.UserError: --out data/a/fused: lies in the source .../data/a; choose a folder outside of the sources
    """
    own = folder.expanduser().resolve()
    read = {source.expanduser().resolve() for source in sources}
    for source in sorted(read):
        if own == source or own in source.parents or source in own.parents:
            how = "is" if own == source else "holds" if own in source.parents else "lies in"
            raise UserError(f"{option} {folder}: {how} the source {source}; choose a folder outside of the sources")
    overwritten = sorted(str(target) for target in targets if target.resolve() in read)
    if overwritten:
        raise UserError(f"{option} {folder}: would overwrite pictures that are read; choose another folder")
