"""The pairs of a data set, found and checked once before any training."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refusion.errors import UserError
from refusion.images.reading import IMAGE_SUFFIXES, Decoded, UnreadableImageError, decode, read_bytes

_MOST_LISTED = 50


@dataclass(frozen=True)
class Pair:
    """Two registered sources.

    Attributes:
        name: the files' stem.
        a, b: absolute paths.
        height, width: in pixels.
        digest: SHA-256 of a's bytes followed by b's, hexadecimal.
    """

    name: str
    a: str
    b: str
    height: int
    width: int
    digest: str


@dataclass(frozen=True)
class Problem:
    """A fault of one file; ``file`` is its path below the data set's folder, ``what`` the rest of the sentence."""

    file: str
    what: str


def find_and_check(
    root: Path,
    task: str,
    split: str,
    *,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> tuple[list[Pair], list[Problem]]:
    """Pairs ROOT/TASK/SPLIT/a/* with b/* by equal stems (suffixes may differ) and decodes every file in full.

    A problem is: no partner, two files of one stem in a folder, a file that is not a readable image (damaged,
    truncated, of an unsupported kind), sizes that differ, EXIF orientations that differ (nobody can tell whether such
    a pair is registered as stored or as shown), both files the same picture. Hidden files, folders and files without
    an image suffix are passed over.

    Args:
        root: the data set's folder.
        task, split: names of its sub-folders.
        progress: called in this thread with (pairs checked, pairs in all).
        threads: number of pairs that are decoded at once; None for one per core, at most 8.

    Returns:
        The good pairs, sorted by name, and the problems, sorted by file.

    Raises:
        UserError: a folder is missing, or there is no image in it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from refusion.images import write_image
        >>> root = Path(tempfile.mkdtemp())
        >>> for grey, side in ((0, "a"), (9, "b")):
        ...     (root / "MIF" / "val" / side).mkdir(parents=True)
        ...     write_image(root / "MIF" / "val" / side / "head.png", np.full((8, 6), grey, np.uint8))
        >>> pairs, problems = find_and_check(root, "MIF", "val")
        >>> [(pair.name, pair.height, pair.width) for pair in pairs], problems
        ([('head', 8, 6)], [])
    """
    folder = root / task / split
    files_a, files_b = (_image_files(root, folder, side) for side in "ab")
    by_stem_a, by_stem_b = _by_stem(files_a), _by_stem(files_b)
    problems: list[Problem] = []
    for own, other, other_side in ((by_stem_a, by_stem_b, "b"), (by_stem_b, by_stem_a, "a")):
        for stem, files in own.items():
            if stem not in other:
                problems += [
                    Problem(_relative(f, root), f"has no partner in {task}/{split}/{other_side}") for f in files
                ]
            if len(files) > 1:
                names = ", ".join(file.name for file in files)
                problems.append(
                    Problem(_relative(files[0], root), f"shares its stem with other files of its folder: {names}")
                )
    whole = [
        (files[0], by_stem_b[stem][0])
        for stem, files in by_stem_a.items()
        if len(files) == 1 and len(by_stem_b.get(stem, ())) == 1
    ]
    pairs: list[Pair] = []
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        checks = [pool.submit(_check, a, b, root) for a, b in whole]
        for done, check in enumerate(as_completed(checks), start=1):
            outcome = check.result()
            if isinstance(outcome, Pair):
                pairs.append(outcome)
            else:
                problems += outcome
            if progress is not None:
                progress(done, len(checks))
    return sorted(pairs, key=lambda pair: pair.name), sorted(problems, key=lambda problem: (problem.file, problem.what))


def bad_pairs_error(problems: Sequence[Problem]) -> UserError:
    """Returns the one error that lists all problems by file name (the first 50, then how many more there are)."""
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    lines = [
        f"found {count} in the image pairs: mend or remove these files, or leave such pairs out with --skip-bad-pairs",
        *(f"  {problem.file}: {problem.what}" for problem in problems[:_MOST_LISTED]),
    ]
    if len(problems) > _MOST_LISTED:
        lines.append(f"  … and {len(problems) - _MOST_LISTED} more")
    return UserError("\n".join(lines))


def match_pairs(a: Path, b: Path) -> list[tuple[str, Path, Path]]:
    """Returns (name, file a, file b) of two files, or of all images of equal stems in two folders, sorted by name.

    Raises:
        UserError: one is missing, one is a file and the other a folder, or an image has no partner or two.
    """
    for option, path in (("--a", a), ("--b", b)):
        if not path.exists():
            raise UserError(f"{option} {path}: there is no such file or folder")
    if a.is_file() and b.is_file():
        return [(a.stem, a, b)]
    if a.is_file() or b.is_file():
        raise UserError(f"--a {a} and --b {b}: give two files or two folders")
    of_a, of_b = images_by_stem("--a", a), images_by_stem("--b", b)
    unpaired = sorted(str(of_a.get(name) or of_b[name]) for name in of_a.keys() ^ of_b.keys())
    if unpaired:
        raise UserError(f"these pictures have no partner of the same stem: {', '.join(unpaired[:20])}")
    return [(name, of_a[name], of_b[name]) for name in sorted(of_a)]


def images_by_stem(option: str, folder: Path) -> dict[str, Path]:
    """Returns the image files of a folder by their stems, in the order of names; ``option`` is named in messages.

    Raises:
        UserError: there is no such folder, no image in it, or two of one stem.
    """
    if not folder.is_dir():
        raise UserError(f"{option} {folder}: there is no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(f"{option} {folder}: {found[path.stem].name} and {path.name} have one stem")
            found[path.stem] = path
    if not found:
        raise UserError(f"{option} {folder}: there is no picture ({', '.join(IMAGE_SUFFIXES)}) in it")
    return found


def dataset_digest(pairs: Sequence[Pair]) -> str:
    """Returns the SHA-256 (hexadecimal) over names and digests of the pairs, independent of their order and folders."""
    lines = sorted(f"{pair.name}\t{pair.digest}\n" for pair in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _image_files(root: Path, folder: Path, side: str) -> list[Path]:
    expected = f"expected {root}/TASK/SPLIT/a and …/b with pictures of equal stems"
    for path in (root, folder.parent, folder, folder / side):
        if not path.is_dir():
            raise UserError(f"there is no folder {path}: {expected}")
    files = sorted(
        path.absolute()
        for path in (folder / side).iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )
    if not files:
        raise UserError(f"there is no image ({', '.join(IMAGE_SUFFIXES)}) in {folder / side}: {expected}")
    return files


def _by_stem(files: Sequence[Path]) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        stems[file.stem].append(file)
    return dict(stems)


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root.absolute()).as_posix()


def _check(a: Path, b: Path, root: Path) -> Pair | list[Problem]:
    problems: list[Problem] = []
    decoded: list[Decoded] = []
    digest = hashlib.sha256()
    for file in (a, b):
        try:
            data = read_bytes(file)
            decoded.append(decode(data, file))
        except UnreadableImageError as error:
            problems.append(Problem(_relative(file, root), error.what))
        else:
            digest.update(data)
    if problems:
        return problems
    what = _mismatch(*decoded)
    if what:
        return [Problem(_relative(a, root), f"{what} (its partner is {_relative(b, root)})")]
    height, width = decoded[0].image.shape[:2]
    return Pair(a.stem, str(a), str(b), height, width, digest.hexdigest())


def _mismatch(a: Decoded, b: Decoded) -> str | None:
    (height_a, width_a), (height_b, width_b) = a.image.shape[:2], b.image.shape[:2]
    if (height_a, width_a) != (height_b, width_b):
        return f"sizes differ: {width_a}×{height_a} in a, {width_b}×{height_b} in b"
    if a.orientation != b.orientation:
        return f"EXIF orientations differ: {a.orientation} in a, {b.orientation} in b; save both upright"
    if _same_picture(a.image, b.image):
        return "both files are the same picture"
    return None


def _same_picture(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Returns True for equal pixels; a grey file also equals an RGB file whose channels all hold it."""
    if a.ndim != b.ndim:
        a, b = (image[..., None] if image.ndim == 2 else image for image in (a, b))
    return bool((a == b).all())
