"""Pairs in a folder of pictures, by the layout whose names they have."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, suffix_of
from refusion.images.layouts.table import PUBLIC, SPLITS, USUAL, Layout

# Folders above the one that was given whose names may tell the data set.
_ABOVE = 2
# A folder with more pictures than any public data set is something else, such as a home.
MOST_FILES = 200_000


@dataclass(frozen=True)
class Place:
    """One picture's part in a layout.

    Attributes:
        file: its path.
        side: "a" or "b"; the number of an exposure in a stack.
        split: train, val, test, or None where the layout does not divide.
        name: of the pair.
        key: all that both pictures of a pair have in common.
        folder: in which it lies, below the root.
    """

    file: Path
    side: str
    split: str | None
    name: str
    key: str
    folder: str


@dataclass
class Candidates:
    """Pictures that might be a and b of one pair."""

    name: str
    split: str | None
    key: str
    scene: str = ""
    a: list[Path] = field(default_factory=list)
    b: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Recognised:
    """Pairs of one layout.

    Attributes:
        layout: the row.
        pairs: complete or not, sorted by key.
        folders_a, folders_b: the folders of each, below the root.
    """

    layout: Layout
    pairs: list[Candidates]
    folders_a: tuple[str, ...]
    folders_b: tuple[str, ...]


def pictures_below(root: Path) -> list[Path]:
    """Returns the picture files below a folder, sorted, hidden ones left out; links to folders are not followed.

    Raises:
        UserError: there are more than a data set has.
    """
    found: list[Path] = []
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(files) if not name.startswith(".") and _is_picture(name)]
        if len(found) > MOST_FILES:
            raise UserError(f"{root}: has more than {MOST_FILES} pictures; give the data set's own folder")
    return found


def recognise(
    root: Path, files: Sequence[Path], task: str, layouts: Sequence[Layout] | None = None
) -> list[Recognised]:
    """Finds the layouts whose names the pictures have.

    Public data sets go before usual names; a picture belongs to the first layout that has pictures of both sources.

    Args:
        root: the folder that was given, absolute.
        files: pictures below it.
        task: layouts of others are left out.
        layouts: what to look for instead of the table.
    """
    for rows in (PUBLIC, USUAL) if layouts is None else (layouts,):
        found: list[Recognised] = []
        left = list(files)
        for row in rows:
            if row.task not in ("", task):
                continue
            places = [place for file in left if (place := place_of(row, root, file)) is not None]
            one = _of_places(row, places)
            if one is not None:
                found.append(one)
                taken = {place.file for place in places}
                left = [file for file in left if file not in taken]
        if found:
            return found
    return []


def tasks_told(root: Path, files: Sequence[Path]) -> list[str]:
    """Returns the tasks of the layouts that the pictures have."""
    for rows in (PUBLIC, USUAL):
        tasks = [
            row.task
            for row in rows
            if row.task and _of_places(row, [p for f in files if (p := place_of(row, root, f)) is not None])
        ]
        if tasks:
            return list(dict.fromkeys(tasks))
    return []


def place_of(layout: Layout, root: Path, file: Path) -> Place | None:
    """Returns the picture's part in a layout, or None where it has none."""
    relative = file.relative_to(root).as_posix()
    text = unicodedata.normalize("NFC", relative[: -len(suffix_of(file))])
    above = "/".join(root.parts[-_ABOVE:]).strip("/")
    if layout.hint and not re.search(layout.hint, f"{above}/{text}", re.IGNORECASE):
        return None
    whole = f"{root.name}/{text}"
    for pattern in layout.patterns:
        match = pattern.search(whole)
        if match is None:
            continue
        groups = match.groupdict()
        name = str(groups["name"]).strip("-_. ") or str(groups["name"])
        if layout.names and not re.fullmatch(layout.names, str(groups["name"]), re.IGNORECASE):
            continue
        before = whole[: match.start()].removeprefix(root.name).strip("/")
        split = groups.get("split") or _split_of(whole[: match.end()].split("/")[:-1])
        side = groups["number"] if layout.stack else _side(layout, groups["side"])
        key = "/".join(part for part in (before, SPLITS.get((split or "").lower(), ""), name.lower()) if part)
        folder = PurePosixPath(relative).parent.as_posix()
        return Place(file, side, SPLITS[split.lower()] if split else None, name, key, folder)
    return None


def _side(layout: Layout, text: str) -> str:
    return "a" if re.fullmatch(layout.a, text, re.IGNORECASE) else "b"


def _split_of(folders: Iterable[str]) -> str | None:
    return next((folder for folder in folders if folder.lower() in SPLITS), None)


def _of_places(layout: Layout, places: Sequence[Place]) -> Recognised | None:
    if layout.stack:
        places = list(_ends_of_stacks(places))
    if {place.side for place in places} != {"a", "b"}:
        return None
    found: dict[str, Candidates] = {}
    for place in places:
        one = found.setdefault(place.key, Candidates(place.name, place.split, place.key, _scene(layout, place.name)))
        (one.a if place.side == "a" else one.b).append(place.file)
    if not any(one.a and one.b for one in found.values()):
        return None
    _tell_apart(found.values())
    folders = {side: tuple(Counter(p.folder for p in places if p.side == side)) for side in "ab"}
    return Recognised(layout, [found[key] for key in sorted(found)], folders["a"], folders["b"])


def _scene(layout: Layout, name: str) -> str:
    match = re.match(layout.scene, name) if layout.scene else None
    return f"{layout.name} {match[0]}" if match else ""


def _ends_of_stacks(places: Sequence[Place]) -> Iterator[Place]:
    """Yields the first picture of each stack as a, and the last as b: exposures are numbered from the shortest on."""
    stacks: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        stacks[place.key].append(place)
    for stack in stacks.values():
        stack.sort(key=lambda place: int(place.side))
        for side, place in zip("ab", (stack[0], stack[-1]), strict=True):
            if len(stack) > 1:
                yield Place(place.file, side, place.split, place.name, place.key, place.folder)


def _tell_apart(pairs: Iterable[Candidates]) -> None:
    """Gives pairs of one name the names of their folders too."""
    by_name: dict[tuple[str | None, str], list[Candidates]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.split, pair.name.lower()].append(pair)
    for same in by_name.values():
        if len(same) > 1:
            for pair in same:
                pair.name = pair.key.replace("/", "-")


def _is_picture(name: str) -> bool:
    return suffix_of(Path(name)) in IMAGE_SUFFIXES
