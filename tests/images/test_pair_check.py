from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refusion.config.ranges import Reading, parse_ranges
from refusion.errors import UserError
from refusion.images.pair_check import check_sources, find_and_check
from refusion.images.pairs import Checked, bad_pairs_error, check_lines, dataset_digest, good_pairs, note_lines
from refusion.images.store import read_pair

RNG = np.random.default_rng(5)


def _save(path: Path, pixels: Any = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (24, 32), dtype=np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(path, **options)
    return path


def _oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def _counts(low: int, high: int) -> Any:
    return RNG.integers(low, high, (24, 32)).astype(np.uint16)


def _check(folder: Path, task: str = "IVIF", ranges: str = "auto") -> Checked:
    return check_sources(folder / "a", folder / "b", task, reading=Reading(parse_ranges(ranges)))


def test_names_that_look_equal_are_paired(tmp_path: Path) -> None:
    for name in ("Käfer", "Crème brûlée", "Å"):
        _save(tmp_path / "a" / f"{unicodedata.normalize('NFC', name)}.png")
        _save(tmp_path / "b" / f"{unicodedata.normalize('NFD', name)}.png")
    checked = _check(tmp_path)
    assert not checked.problems
    assert [pair.name for pair in checked.pairs] == sorted(["Käfer", "Crème brûlée", "Å"])


def test_a_pipe_or_a_device_is_a_problem_like_any(tmp_path: Path) -> None:
    for name in ("good", "pipe", "zero"):
        _save(tmp_path / "b" / f"{name}.png")
    _save(tmp_path / "a" / "good.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "zero.png").symlink_to("/dev/zero")
    checked = _check(tmp_path)
    assert [pair.name for pair in checked.pairs] == ["good"]
    assert [problem.what for problem in checked.problems] == ["cannot be read (it is no regular file)"] * 2


def test_a_picture_is_never_fused_with_itself(tmp_path: Path) -> None:
    for folder in ("linked", "hard", "pixels"):
        _save(tmp_path / folder / "a" / "x.png")
        (tmp_path / folder / "b").mkdir()
    (tmp_path / "linked" / "b" / "x.png").symlink_to(tmp_path / "linked" / "a" / "x.png")
    (tmp_path / "hard" / "b" / "x.png").hardlink_to(tmp_path / "hard" / "a" / "x.png")
    Image.open(tmp_path / "pixels" / "a" / "x.png").save(tmp_path / "pixels" / "b" / "x.bmp")
    kinds = {folder: _check(tmp_path / folder).problems[0].kind for folder in ("linked", "hard", "pixels")}
    assert kinds == {"linked": "same file", "hard": "same file", "pixels": "same picture"}
    (tmp_path / "alias").symlink_to(tmp_path / "linked" / "a")
    with pytest.raises(UserError, match="one folder; a picture is never fused with itself"):
        check_sources(tmp_path / "linked" / "a", tmp_path / "alias", "IVIF")
    file = tmp_path / "hard" / "a" / "x.png"
    assert check_sources(file, file, "IVIF").problems[0].kind == "same file"


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_orientations_that_agree_are_applied_and_others_refused(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = [RNG.integers(0, 256, (24, 24), dtype=np.uint8) for _ in "ab"]
    for side, one in zip("ab", pixels, strict=True):
        _save(tmp_path / side / f"x{suffix}", one, exif=_oriented(orientation))
        _save(tmp_path / side / f"y{suffix}", one, exif=_oriented(orientation if side == "a" else 1))
    checked = _check(tmp_path)
    assert [pair.name for pair in checked.pairs] == ["x"]
    assert checked.problems[0].kind == "orientation"
    assert f"EXIF orientations differ: {orientation} in a, 1 in b" in checked.problems[0].what
    stored = np.asarray(Image.open(tmp_path / "a" / f"x{suffix}"))
    turned = {3: 2, 6: -1, 8: 1}[orientation]
    np.testing.assert_array_equal(read_pair(checked.pairs[0])[0], np.rot90(stored, turned))


def test_all_problems_are_listed_before_anything_is_done(tmp_path: Path) -> None:
    for name in "012":
        _save(tmp_path / "a" / f"{name}.png")
        _save(tmp_path / "b" / f"{name}.png", np.zeros((24, 33), np.uint8) if name == "1" else None)
    _save(tmp_path / "a" / "alone.png")
    (tmp_path / "a" / "broken.png").write_text("no picture")
    _save(tmp_path / "b" / "broken.png")
    checked = _check(tmp_path)
    assert [problem.kind for problem in checked.problems] == ["size", "no partner", "unreadable"]
    with pytest.raises(UserError) as caught:
        good_pairs(checked, skip_bad=False)
    assert str(caught.value) == str(bad_pairs_error(checked.problems))
    assert [pair.name for pair in good_pairs(checked, skip_bad=True)] == ["0", "2"]
    assert sum(line.startswith("left out: ") for line in check_lines(checked)) == 3
    with pytest.raises(UserError, match="no good pair is left; found 1 problem"):
        good_pairs(checked._replace(pairs=[], problems=checked.problems[:1]), skip_bad=True)


def test_what_is_passed_over_is_named(tmp_path: Path) -> None:
    for side in "ab":
        _save(tmp_path / side / "x.png")
    for name in ("y.heic", "z.HEIC", "IM0001", ".hidden.heic", "Thumbs.db", "desktop.ini"):
        (tmp_path / "a" / name).touch()
    (tmp_path / "a" / "folder.heic").mkdir()
    notes = [note for note in _check(tmp_path).notes if note.kind == "passed over"]
    assert [(note.file, note.what) for note in notes] == [
        (str(tmp_path / "a"), "passed over for their suffix: .heic (2), no suffix (1)")
    ]


def test_raw_counts_are_stretched_and_that_is_said_and_recorded(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "x.png", _counts(7000, 7600))
    _save(tmp_path / "b" / "x.png")
    checked = _check(tmp_path)
    low, high = checked.pairs[0].range_a or (0, 0)
    assert 7000 <= low < 7005
    assert 7595 < high <= 7600
    assert checked.pairs[0].range_b is None
    (note,) = checked.notes
    assert f"values {low:g} to {high:g} become 0 to 255" in note.what
    assert np.ptp(read_pair(checked.pairs[0])[0]) == 255
    full = _check(tmp_path, ranges="full")
    assert full.pairs[0].range_a is None
    assert [note.kind for note in full.notes] == ["nearly constant"]
    assert dataset_digest(full.pairs) != dataset_digest(checked.pairs)


def test_a_folder_shares_a_range_where_that_is_asked_for(tmp_path: Path) -> None:
    for name, low in (("1", 7000), ("2", 7400)):
        _save(tmp_path / "a" / f"{name}.png", _counts(low, low + 300))
        _save(tmp_path / "b" / f"{name}.png")
    each = {pair.range_a for pair in _check(tmp_path).pairs}
    whole = {pair.range_a for pair in _check(tmp_path, ranges="a=data@folder").pairs}
    assert len(each) == 2
    assert whole == {(7000.0, 7699.0)}


def test_two_exposures_share_a_range(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "x.png", _counts(0, 900))
    _save(tmp_path / "b" / "x.png", _counts(600, 4096))
    (pair,) = _check(tmp_path, "MEIF").pairs
    assert pair.range_a == pair.range_b
    assert (pair.range_a or (0, 0))[1] > 4000
    (alone,) = _check(tmp_path, "IVIF").pairs
    assert alone.range_a != alone.range_b


def test_a_nearly_constant_source_is_named_but_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "IVIF" / "val"
    _save(folder / "a" / "x.png", np.full((24, 32), 200, np.uint8))
    _save(folder / "b" / "x.png")
    _save(folder / "a" / "y.png", RNG.integers(10, 19, (24, 32), dtype=np.uint8))
    _save(folder / "b" / "y.png", RNG.integers(0, 12, (24, 32), dtype=np.uint8))
    checked = find_and_check(tmp_path, "IVIF", "val")
    assert len(checked.pairs) == 2
    assert [(note.file, note.kind) for note in checked.notes] == [
        ("IVIF/val/a/x.png", "nearly constant"),
        ("IVIF/val/a/y.png", "nearly constant"),
    ]
    assert note_lines(checked.notes)[0] == "IVIF/val/a/x.png: is nearly constant: its values span 0 of 255 grey levels"


def test_facts_of_every_readable_source(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "x.png", _counts(7000, 7600))
    _save(tmp_path / "b" / "x.jpg", RNG.integers(0, 256, (20, 32, 3), dtype=np.uint8))
    facts = _check(tmp_path).facts
    a = facts[str(tmp_path / "a" / "x.png")]
    assert (a.about, a.height, a.width, a.channels) == ("PNG, 16 bits", 24, 32, 1)
    assert 7000 <= a.least < a.greatest < 7600
    b = facts[str(tmp_path / "b" / "x.jpg")]
    assert (b.about, b.height, b.channels) == ("JPEG, 8 bits", 20, 3)
