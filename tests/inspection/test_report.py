"""A data set's report: what it is, its faults, what is suspicious, the contact sheet, and links."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from written_pairs import write_pairs

from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.images.pair_check import find_and_check
from refusion.images.reading import read_image
from refusion.images.writing import write_image
from refusion.inspection.links import write_links
from refusion.inspection.measures import Shift
from refusion.inspection.page import contact_sheet
from refusion.inspection.report import SplitReport, find_duplicates, inspect_split, lines_of, offset_in_words


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three train and two val pairs; of the train pairs, b of one is shifted and one has no partner."""
    root = tmp_path / "data"
    write_pairs(root, "MEIF", "train", 3)
    write_pairs(root, "MEIF", "val", 2)
    shifted = root / "MEIF" / "train" / "b" / "scene_1.png"
    a = read_image(root / "MEIF" / "train" / "a" / "scene_1.png")
    smooth = cv2.GaussianBlur(a, (0, 0), 1.0)
    write_image(root / "MEIF" / "train" / "a" / "scene_1.png", smooth.astype(np.uint8))
    write_image(shifted, np.roll(smooth, (7, -5), (0, 1)).astype(np.uint8) // 2)
    (root / "MEIF" / "train" / "b" / "scene_2.png").unlink()
    return root


def inspected(data: Path, split: str) -> SplitReport:
    return inspect_split(data, "MEIF", split, Reading(), sheet=10)


def test_what_is_there_and_what_is_suspicious(data: Path) -> None:
    report = inspected(data, "train")
    text = "\n".join(lines_of(report))
    assert [problem.file for problem in report.checked.problems] == ["MEIF/train/a/scene_2.png"]
    assert "2 pairs, 1 problems; 52×44" in text
    assert re.search(r"a: PNG 8 bits grey; mean grey \d+", text)
    assert "warning: scene_1 seems to be shifted: b lies 7 pixels down and 5 left of a" in text
    assert "has the brighter picture as a: a is the under-exposed one" in text


def test_pairs_that_look_alike_in_two_splits(data: Path) -> None:
    for side in "ab":
        shutil.copy(data / "MEIF" / "train" / side / "scene_0.png", data / "MEIF" / "val" / side / "scene_1.png")
    found = find_duplicates([inspected(data, split) for split in ("train", "val")])
    assert [(one.first, one.second, one.cross) for one in found] == [(("train", "scene_0"), ("val", "scene_1"), True)]


def test_the_sheet_is_one_file_that_needs_nothing_else(data: Path) -> None:
    reports = [inspected(data, split) for split in ("train", "val")]
    page = contact_sheet("Data: <mine>", reports, find_duplicates(reports))
    assert page.count("data:image/jpeg;base64,") == 8
    assert "Data: &lt;mine&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "has no partner" in page


def test_links_are_a_data_set_of_their_own(data: Path, tmp_path: Path) -> None:
    pairs = find_and_check(data, "MEIF", "val").pairs
    for _ in range(2):
        assert write_links(tmp_path / "out", data, [("MEIF", "val", pairs)]) == 2
    again = find_and_check(tmp_path / "out", "MEIF", "val")
    assert [(pair.name, pair.digest) for pair in again.pairs] == [(pair.name, pair.digest) for pair in pairs]
    assert (tmp_path / "out" / "MEIF" / "val" / "a" / "scene_0.png").is_symlink()


def test_links_overwrite_nothing_and_stay_out_of_the_data(data: Path, tmp_path: Path) -> None:
    pairs = find_and_check(data, "MEIF", "val").pairs
    with pytest.raises(UserError, match="lies in the data set itself"):
        write_links(data / "out", data, [("MEIF", "val", pairs)])
    place = tmp_path / "out" / "MEIF" / "val" / "a" / "scene_0.png"
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        write_links(tmp_path / "out", data, [("MEIF", "val", pairs)])
    assert place.read_text() == "mine"


@pytest.mark.parametrize(
    ("down", "right", "words"),
    [
        (-3, 0.2, "3 pixels up"),
        (0, -7, "7 pixels left"),
        (-1.2, 4.6, "1 pixel up and 5 right"),
        (0.1, 0, "0 pixels right"),
    ],
)
def test_offsets_have_a_direction_and_no_sign(down: float, right: float, words: str) -> None:
    assert offset_in_words(Shift(down, right, 0.5, 0.1)) == words
