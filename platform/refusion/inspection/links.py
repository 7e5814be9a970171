"""A data set laid out as TASK/SPLIT/{a,b}, by links to its own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refusion.errors import UserError
from refusion.images.formats import suffix_of
from refusion.images.pairs import Pair


def write_links(out: Path, root: Path, splits: Sequence[tuple[str, str, Sequence[Pair]]]) -> int:
    """Writes OUT/TASK/SPLIT/{a,b}/NAME.suffix as symbolic links, and returns the number of pairs.

    What is there and is the same link stays; nothing is overwritten.

    Args:
        out: the folder to write; it is made.
        root: the data set's folder, in which the new one must not lie.
        splits: task, split and pairs.

    Raises:
        UserError: the folder lies in the data set, cannot be written, or holds another file of the same name.
    """
    out = out.expanduser().absolute()
    if out.resolve().is_relative_to(root.resolve()):
        raise UserError(f"--write {out}: lies in the data set itself, which would then hold its pictures twice")
    for task, split, pairs in splits:
        link_files(out / task / split, [(pair.name, Path(pair.a), Path(pair.b)) for pair in pairs])
    return sum(len(pairs) for _, _, pairs in splits)


def link_files(folder: Path, pairs: Sequence[tuple[str, Path, Path]]) -> None:
    """Writes FOLDER/{a,b}/NAME.suffix as links to pairs of (name, file a, file b), as ``write_links`` does.

    Raises:
        UserError: the folder cannot be written, or holds another file of the same name.
    """
    for name, *files in pairs:
        for side, file in zip("ab", files, strict=True):
            _link(folder / side / f"{name}{suffix_of(file)}", file)


def _link(place: Path, file: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink() and place.readlink() == file:
            return
        place.symlink_to(file)
    except FileExistsError as error:
        raise UserError(f"--write: {place} is there already; give another folder") from error
    except OSError as error:
        raise UserError(f"--write: {place} cannot be written ({error.strerror})") from error
