"""Data sets as people have them: their pairs by split, and what was taken as what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refusion.config.arrangement import DEFAULT_DIVISION, Arrangement, Division
from refusion.errors import UserError
from refusion.images.layouts.division import divide
from refusion.images.layouts.recognition import Candidates, Recognised, pictures_below, recognise, tasks_told
from refusion.images.layouts.table import PUBLIC, mapped
from refusion.images.pairs import Matched, Problem
from refusion.tasks import TASKS

ALL = "all"
"""Name of the split that is every pair."""

_MOST_FOLDERS = 4


@dataclass(frozen=True)
class Arranged:
    """Pairs of one split.

    Attributes:
        matched: the pairs, and pictures without a partner.
        names: each file as problems name it.
        said: what was taken as what.
    """

    matched: Matched
    names: Mapping[Path, str]
    said: str


def arrange(root: Path, task: str, split: str, how: Arrangement | None = None) -> Arranged | None:
    """Finds the pairs of one split in a data set of any known layout, or one that the user describes.

    A folder ROOT/TASK goes before ROOT. Where there are no splits, or others are asked for, pairs are divided by
    scenes; where there is no val, test serves.

    Args:
        root: the folder.
        task: name of the fusion task.
        split: train, val, test, or all.
        how: the user's own names and division.

    Returns:
        None where no layout is recognised.

    Raises:
        UserError: the layout has no such split, or the pairs cannot be divided.
    """
    how = how or Arrangement()
    root = root.absolute()
    base = _base(root, task)
    files = _files_of(base, task)
    rows = None if how.names is None else [mapped(*how.names, task)]
    found = recognise(base, files, task, rows)
    if not found:
        if how.names is not None:
            a, b = how.names
            raise UserError(f"--map a={a},b={b}: no pair of pictures in {base} has these names of folders or files")
        return None
    if base != root and how == Arrangement() and [one.layout.task for one in found] == [""]:
        # TASK/SPLIT/{a,b} without that split: its path says more than that it is no data set's.
        splits = {pair.split for one in found for pair in one.pairs}
        if split not in (*splits, ALL) and not (split == "val" and "test" in splits) and splits != {None}:
            return None
    return _of_split(root, found, split, how, len(files))


def splits_of(root: Path, task: str, how: Arrangement | None = None) -> list[str]:
    """Returns the splits that a data set has for a task: those of its folders or of ``how``; all where it has none."""
    how = how or Arrangement()
    folder = root.absolute() / task
    own = [split for split in ("train", "val", "test") if (folder / split / "a").is_dir()]
    if how.division is not None:
        return [split for split, _ in how.division]
    if own and how.names is None:
        return own
    base = _base(root.absolute(), task)
    rows = None if how.names is None else [mapped(*how.names, task)]
    splits = {pair.split for one in recognise(base, _files_of(base, task), task, rows) for pair in one.pairs}
    return [split for split in ("train", "val", "test") if split in splits] or [ALL]


def tasks_recognised(root: Path) -> list[str]:
    """Returns the tasks that the data set below a folder is for, as far as its names say."""
    root = root.absolute()
    return [task for task in TASKS if task in tasks_told(root, pictures_below(root))]


def known_layouts() -> str:
    """Returns the names of the public data sets that are recognised."""
    return ", ".join(dict.fromkeys(layout.name for layout in PUBLIC))


def _base(root: Path, task: str) -> Path:
    names = (task, task.lower(), task.capitalize())
    return next((root / name for name in names if (root / name).is_dir()), root)


def _files_of(base: Path, task: str) -> list[Path]:
    """Returns the pictures below, without those of other tasks' folders."""
    others = {name.lower() for name in TASKS if name != task}
    return [file for file in pictures_below(base) if file.relative_to(base).parts[0].lower() not in others]


def _of_split(root: Path, found: Sequence[Recognised], split: str, how: Arrangement, pictures: int) -> Arranged:
    pairs = [pair for one in found for pair in one.pairs]
    splits = {pair.split for pair in pairs} - {None}
    note = ""
    if split == ALL or (how.whole and split == "val" and not splits and how.division is None):
        chosen, split = pairs, ALL
    elif how.division is not None or not splits:
        chosen, note = _part_of(pairs, split, how.division)
    else:
        serving = "test" if split == "val" and "val" not in splits else split
        if serving not in splits:
            there = ", ".join(sorted(str(name) for name in splits))
            raise UserError(
                f"there is no {split} split in {root} ({_titles(found)} with {there}); divide what is there by "
                "--split train=80%,val=20%"
            )
        chosen = [pair for pair in pairs if pair.split == serving]
        note = ", its test split" if serving != split else ""
    names = {file: file.relative_to(root).as_posix() for pair in pairs for file in (*pair.a, *pair.b)}
    # Pairs of several data sets may have one name.
    titles = {id(pair): one.layout.name for one in found for pair in one.pairs} if len(found) > 1 else {}
    return Arranged(_matched(chosen, names, titles), names, _said(found, chosen, split, note, root, pictures))


def _part_of(pairs: Sequence[Candidates], split: str, asked: Division | None) -> tuple[list[Candidates], str]:
    """Returns the pairs of one split of all that are divided, and what is to be said of it."""
    division = asked or DEFAULT_DIVISION
    if split not in dict(division):
        raise UserError(f"--split: there is no {split} among {', '.join(name for name, _ in division)}")
    whole = {pair.key: pair for pair in pairs if len(pair.a) == len(pair.b) == 1}
    told = {pair.key: pair.scene for pair in whole.values() if pair.scene}
    divided = divide([(pair.key, pair.a[0], pair.b[0]) for pair in whole.values()], division, told)
    chosen = [whole[key] for key, _, _ in divided[split]]
    if split == division[0][0]:
        # Pictures without a partner are told once, with the first split.
        chosen += [pair for pair in pairs if pair.key not in whole]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in division)
    why = "" if asked else "; it has no splits of its own, --split says otherwise"
    return chosen, f", divided by scenes ({shares}{why})"


def _matched(pairs: Sequence[Candidates], names: Mapping[Path, str], titles: Mapping[int, str]) -> Matched:
    good: list[tuple[str, Path, Path]] = []
    problems: list[Problem] = []
    for pair in pairs:
        title = titles.get(id(pair))
        name = (f"{title}-{pair.name}" if title else pair.name).replace("/", "-").replace(" ", "_")
        file_a, file_b = (str(side[0]) if side else "" for side in (pair.a, pair.b))
        files = name, file_a, file_b
        for own, other, side in ((pair.a, pair.b, "b"), (pair.b, pair.a, "a")):
            if not other:
                problems += [Problem(names[file], f"has no partner to be {side}", "no partner", files) for file in own]
            if len(own) > 1:
                what = f"is one of several for one pair: {', '.join(names[file] for file in own)}"
                problems.append(Problem(names[own[0]], what, "shared stem", files))
        if len(pair.a) == len(pair.b) == 1:
            good.append((name, pair.a[0], pair.b[0]))
    return Matched(sorted(good), problems)


def _said(
    found: Sequence[Recognised], chosen: Sequence[Candidates], split: str, note: str, root: Path, pictures: int
) -> str:
    keys = {id(pair) for pair in chosen}
    parts = []
    for one in found:
        some = [pair for pair in one.pairs if id(pair) in keys]
        if some:
            a, b = (_folders([file for own in side for file in own], root) for side in _sides(some))
            count = sum(len(pair.a) == len(pair.b) == 1 for pair in some)
            parts.append(f"{count} of {one.layout.name}: a from {a}, b from {b}")
    used = sum(len(pair.a) + len(pair.b) for one in found for pair in one.pairs)
    rest = f"; {pictures - used} other pictures below it are not used" if pictures > used else ""
    return f"{split} is {'; '.join(parts) or 'empty'}{note}{rest}"


def _sides(pairs: Sequence[Candidates]) -> tuple[list[list[Path]], list[list[Path]]]:
    return [pair.a for pair in pairs], [pair.b for pair in pairs]


def _folders(files: Sequence[Path], root: Path) -> str:
    """Returns the folders of files of one source, with the names of two where all lie in one folder."""
    counts = Counter(file.parent for file in files)
    if set(counts) == {root}:
        return ", ".join(file.name for file in files[:2]) + (", …" if len(files) > 2 else "")
    names = [folder.relative_to(root).as_posix() for folder, _ in counts.most_common(_MOST_FOLDERS)]
    more = len(counts) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _titles(found: Sequence[Recognised]) -> str:
    return ", ".join(dict.fromkeys(one.layout.name for one in found))
