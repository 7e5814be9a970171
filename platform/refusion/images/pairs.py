"""Pairs of sources, what their check reports, and the files of two folders that belong together."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, stem_of, suffix_of
from refusion.images.ranges import Extent

_MOST_LISTED = 50
_MOST_OF_A_KIND = 3
# What systems leave in folders, and what nobody asks about.
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}

Kind = Literal[
    "no partner", "shared stem", "unreadable", "orientation", "size", "same file", "same picture", "too small",
    "range", "nearly constant", "remark", "passed over", "layout",
]  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two registered sources.

    Attributes:
        name: the files' stem, in Unicode's composed form.
        a, b: absolute paths.
        height, width: in pixels, upright.
        digest: SHA-256 of a's bytes followed by b's, hexadecimal.
        range_a, range_b: values that become 0 and 255; None where they are those of the file's depth.
    """

    name: str
    a: str
    b: str
    height: int
    width: int
    digest: str
    range_a: Extent | None = None
    range_b: Extent | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all sources."""
        return self.a, self.b

    @property
    def ranges(self) -> tuple[Extent | None, ...]:
        """Ranges of all sources."""
        return self.range_a, self.range_b

    def __post_init__(self) -> None:
        for name in ("range_a", "range_b"):
            value = getattr(self, name)
            # JSON makes lists of tuples.
            object.__setattr__(self, name, None if value is None else (float(value[0]), float(value[1])))


@dataclass(frozen=True)
class Problem:
    """A fault of one file, or a note on it.

    Attributes:
        file: its path below the data set's folder, or as it was given.
        what: the rest of the sentence.
        kind: of fault or note.
        pair: the pair's name, and its files a and b as absolute paths; empty where there is none.
    """

    file: str
    what: str
    kind: Kind = "unreadable"
    pair: tuple[str, str, str] = field(default=("", "", ""), compare=False)


@dataclass(frozen=True)
class SourceFacts:
    """Facts about one source.

    Attributes:
        about: format and depth, such as "PNG, 16 bits".
        height, width: in pixels, upright.
        channels: 1 or 3.
        least, greatest: of its values as the file holds them.
    """

    about: str
    height: int
    width: int
    channels: int
    least: float
    greatest: float


class Checked(NamedTuple):
    """The outcome of the one pair check.

    Attributes:
        pairs: the good ones, sorted by name.
        problems: of the others, sorted by file.
        notes: what does not make a pair bad, such as a range that was stretched, or what was passed over.
        facts: of every source that could be read, by absolute path.
    """

    pairs: list[Pair]
    problems: list[Problem]
    notes: list[Problem]
    facts: Mapping[str, SourceFacts]


class Matched(NamedTuple):
    """Files that belong together: (name, file a, file b), and the problems of the others."""

    pairs: list[tuple[str, Path, Path]]
    problems: list[Problem]


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


def good_pairs(checked: Checked, *, skip_bad: bool) -> list[Pair]:
    """Returns the pairs to work on.

    Args:
        checked: outcome of the check.
        skip_bad: leave bad pairs out instead of raising.

    Raises:
        UserError: there are problems, all of which it lists, or no good pair is left.
    """
    if checked.problems and not (skip_bad and checked.pairs):
        error = bad_pairs_error(checked.problems)
        raise UserError(f"no good pair is left; {error}") if skip_bad else error
    return checked.pairs


def note_lines(notes: Sequence[Problem]) -> list[str]:
    """Returns notes as lines, the first three of a kind, then how many more there are.

    >>> note_lines([Problem(f"{n}.png", "is nearly constant", "nearly constant") for n in range(5)])[-1]
    '… and 2 more (nearly constant)'
    """
    by_kind: dict[str, list[Problem]] = defaultdict(list)
    for note in notes:
        by_kind[note.kind].append(note)
    lines: list[str] = []
    for kind, some in by_kind.items():
        lines += [f"{note.file}: {note.what}" for note in some[:_MOST_OF_A_KIND]]
        if len(some) > _MOST_OF_A_KIND:
            lines.append(f"… and {len(some) - _MOST_OF_A_KIND} more ({kind})")
    return lines


def check_lines(checked: Checked) -> list[str]:
    """Returns all that is to be said of pairs that are worked on: notes, and which files are left out."""
    skipped = [f"left out: {problem.file}: {problem.what}" for problem in checked.problems[:_MOST_LISTED]]
    if len(checked.problems) > _MOST_LISTED:
        skipped.append(f"… and {len(checked.problems) - _MOST_LISTED} more left out")
    return [*note_lines(checked.notes), *skipped]


def match_sides(a: Sequence[Path], b: Sequence[Path], place_a: str, place_b: str, names: Mapping[Path, str]) -> Matched:
    """Matches the files of two folders by stem, in Unicode's composed form.

    Args:
        a, b: the files.
        place_a, place_b: the folders, as sentences name them.
        names: each file as problems name it.
    """
    by_a, by_b = _by_stem(a), _by_stem(b)
    problems: list[Problem] = []
    for own, other, place in ((by_a, by_b, place_b), (by_b, by_a, place_a)):
        for stem, files in own.items():
            file_a, file_b = (str(side[stem][0]) if stem in side else "" for side in (by_a, by_b))
            pair = stem, file_a, file_b
            if stem not in other:
                problems += [Problem(names[file], f"has no partner in {place}", "no partner", pair) for file in files]
            if len(files) > 1:
                listed = ", ".join(file.name for file in files)
                what = f"shares its stem with other files of its folder: {listed}"
                problems.append(Problem(names[files[0]], what, "shared stem", pair))
    pairs = [
        (stem, files[0], by_b[stem][0])
        for stem, files in sorted(by_a.items())
        if len(files) == 1 and len(by_b.get(stem, ())) == 1
    ]
    return Matched(pairs, problems)


def image_files(folder: Path) -> tuple[list[Path], Problem | None]:
    """Returns the files of a folder with a picture's suffix, sorted, and a note on those with another.

    Hidden files and folders are passed over without a word.
    """
    files: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and not path.is_dir() and path.name.lower() not in _SYSTEM_FILES:
            (files if suffix_of(path) in IMAGE_SUFFIXES else others).append(path.absolute())
    if not others:
        return files, None
    counts = Counter(suffix_of(path) or "no suffix" for path in others)
    listed = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(counts.items()))
    return files, Problem(str(folder), f"passed over for their suffix: {listed}", "passed over")


def images_by_stem(option: str, folder: Path) -> dict[str, Path]:
    """Returns the image files of a folder by their stems, in the order of names; ``option`` is named in messages.

    Raises:
        UserError: there is no such folder, no image in it, or two of one stem.
    """
    if not folder.is_dir():
        raise UserError(f"{option} {folder}: there is no such folder")
    found: dict[str, Path] = {}
    for path in image_files(folder)[0]:
        stem = stem_of(path)
        if stem in found:
            raise UserError(f"{option} {folder}: {found[stem].name} and {path.name} have one stem")
        found[stem] = path
    if not found:
        raise UserError(f"{option} {folder}: there is no picture ({', '.join(IMAGE_SUFFIXES)}) in it")
    return found


def dataset_digest(pairs: Sequence[Pair]) -> str:
    """Returns the SHA-256 (hexadecimal) over names, digests and ranges of the pairs.

    It depends neither on their order nor on their folders.
    """
    lines = sorted(f"{pair.name}\t{pair.digest}{_ranges(pair)}\n" for pair in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _ranges(pair: Pair) -> str:
    """Returns the ranges where there are any: other values of the same files are another data set."""
    if pair.range_a is None and pair.range_b is None:
        return ""
    return f"\t{pair.range_a}\t{pair.range_b}"


def _by_stem(files: Sequence[Path]) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        stems[stem_of(file)].append(file)
    return dict(stems)
