"""Data sets or folds held out of training in turn, so that modules are scored on what they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, stem_of
from refusion.images.layouts.division import Named, divide
from refusion.inspection.links import link_files

TRAIN, VAL = "train", "val"


@dataclass(frozen=True)
class HeldOut:
    """One part that is held out.

    Attributes:
        name: of the data set, or of the fold.
        train: pairs to train on: name, file a, file b.
        val: pairs of the part, to be scored.
    """

    name: str
    train: Sequence[Named]
    val: Sequence[Named]


def data_set_of(name: str) -> str:
    """Returns the data set of a pair, the first word of its name.

    >>> data_set_of("roadscene_FLIR_07427")
    'roadscene'
    """
    return name.partition("_")[0]


def by_data_set(splits: Mapping[str, Sequence[Named]]) -> list[HeldOut]:
    """Holds each data set of val out: its val pairs are scored, and none of its train pairs is trained on.

    Raises:
        UserError: nothing would be left to train on.
    """
    found = []
    for name in dict.fromkeys(data_set_of(pair[0]) for pair in splits[VAL]):
        train = [pair for pair in splits[TRAIN] if data_set_of(pair[0]) != name]
        if not train:
            raise UserError(f"all pairs are of one data set by the first word of their names, {name!r}; give --folds N")
        found.append(HeldOut(name, train, [pair for pair in splits[VAL] if data_set_of(pair[0]) == name]))
    return found


def by_fold(splits: Mapping[str, Sequence[Named]], count: int) -> list[HeldOut]:
    """Divides train and val pairs together into folds by scenes, and holds each out.

    Raises:
        UserError: there are fewer scenes than folds.
    """
    pairs = sorted([*splits[TRAIN], *splits[VAL]])
    folds = divide(pairs, tuple((f"fold{place}", 1 / count) for place in range(1, count + 1)))
    return [HeldOut(name, [pair for pair in pairs if pair not in val], val) for name, val in folds.items()]


def listed(root: Path, task: str, split: str) -> list[Named]:
    """Returns the pairs of ROOT/TASK/SPLIT/{a,b} by their names, without looking into the files.

    Raises:
        UserError: a folder is missing, or a file has no partner.
    """
    sides = []
    for side in "ab":
        folder = root / task / split / side
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}; lay the data set out by jobs/data.py --write first")
        files = (file.absolute() for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        sides.append({stem_of(file): file for file in files})
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        raise UserError(f"{root / task / split}: {alone[0]} has no partner; see python jobs/data.py {root}")
    return sorted((name, file, sides[1][name]) for name, file in sides[0].items())


def write_held_out(out: Path, task: str, parts: Sequence[HeldOut]) -> None:
    """Lays each part out as OUT/NAME/TASK/{train,val}/{a,b}, by links.

    Raises:
        UserError: a folder cannot be written, or holds another file of the same name.
    """
    for part in parts:
        for split, pairs in ((TRAIN, part.train), (VAL, part.val)):
            link_files(out / part.name / task / split, pairs)
