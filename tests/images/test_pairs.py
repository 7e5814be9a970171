from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refusion.errors import UserError
from refusion.images.pair_check import check_sources, find_and_check
from refusion.images.pairs import Pair, Problem, bad_pairs_error, dataset_digest, images_by_stem, match_sides


def _save(path: Path, seed: int, shape: tuple[int, ...] = (24, 32, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Three good pairs."""
    folder = tmp_path / "data" / "IVIF" / "train"
    for number, (suffix_a, suffix_b) in enumerate([(".png", ".jpg"), (".tif", ".PNG"), (".bmp", ".bmp")]):
        _save(folder / "a" / f"n{number}{suffix_a}", 2 * number, (24, 32))
        _save(folder / "b" / f"n{number}{suffix_b}", 2 * number + 1)
    return folder


def _check(split: Path) -> tuple[list[Pair], dict[str, str]]:
    pairs, problems, _, _ = find_and_check(split.parents[1], "IVIF", "train", threads=2)
    assert len({problem.file for problem in problems}) == len(problems)
    return pairs, {problem.file: problem.what for problem in problems}


def test_pairs_are_found_by_stem(split: Path) -> None:
    (split / "a" / "notes.txt").write_text("not a picture")
    for name in (".DS_Store", ".hidden.png", "Thumbs.db"):
        (split / "b" / name).write_text("not a picture")
    (split / "a" / "older.png").mkdir()
    pairs, problems = _check(split)
    assert not problems
    assert [pair.name for pair in pairs] == ["n0", "n1", "n2"]
    assert (pairs[0].height, pairs[0].width) == (24, 32)
    assert Path(pairs[0].a).is_absolute()
    data = b"".join((split / file).read_bytes() for file in ("a/n0.png", "b/n0.jpg"))
    assert pairs[0].digest == hashlib.sha256(data).hexdigest()
    assert pickle.loads(pickle.dumps(pairs)) == pairs
    assert Pair(**json.loads(json.dumps(dataclasses.asdict(pairs[0])))) == pairs[0]


def test_every_problem_is_listed_by_file(split: Path) -> None:
    _save(split / "a" / "alone.png", 10)
    _save(split / "b" / "widow.png", 10)
    _save(split / "a" / "size.png", 11, (24, 32))
    _save(split / "b" / "size.png", 12, (24, 33))
    _save(split / "a" / "twin.png", 13)
    _save(split / "b" / "twin.bmp", 13)
    _save(split / "a" / "text.png", 14)
    (split / "b" / "text.png").write_text("hello")
    _save(split / "a" / "two.png", 15)
    _save(split / "a" / "two.bmp", 16)
    _save(split / "b" / "two.png", 17)
    for name in ("cut.png", "cut.jpg"):
        side = "a" if name.endswith("png") else "b"
        _save(split / side / name, 18)
        data = (split / side / name).read_bytes()
        (split / side / name).write_bytes(data[: len(data) * 4 // 5])
    (split / "a" / "empty.png").touch()
    _save(split / "b" / "empty.png", 19)
    (split / "a" / "broken.png").symlink_to(split / "nowhere.png")
    _save(split / "b" / "broken.png", 20)
    pairs, problems = _check(split)
    assert [pair.name for pair in pairs] == ["n0", "n1", "n2"]
    expected = {
        "a/alone.png": "no partner in IVIF/train/b",
        "b/widow.png": "no partner in IVIF/train/a",
        "a/size.png": "32×24 in a, 33×24 in b",
        "a/twin.png": "the same picture",
        "b/text.png": "not a readable image",
        "a/two.bmp": "two.bmp, two.png",
        "a/cut.png": "truncated",
        "b/cut.jpg": "truncated",
        "a/empty.png": "is empty",
        "a/broken.png": "cannot be read",
    }
    assert sorted(problems) == sorted(f"IVIF/train/{file}" for file in expected)
    for file, what in expected.items():
        assert what in problems[f"IVIF/train/{file}"]


def test_the_same_picture_in_grey_and_in_rgb(split: Path) -> None:
    grey = np.asarray(Image.open(split / "a" / "n2.bmp"))
    Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(split / "b" / "n2.bmp")
    _, problems = _check(split)
    assert "the same picture" in problems["IVIF/train/a/n2.bmp"]


def test_orientations_that_differ(split: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    picture = Image.open(split / "b" / "n0.jpg").copy()
    picture.save(split / "b" / "n0.jpg", exif=exif)
    _, problems = _check(split)
    assert "orientations differ: 1 in a, 3 in b" in problems["IVIF/train/a/n0.png"]


def test_progress_counts_the_pairs(split: Path) -> None:
    seen: list[tuple[int, int]] = []
    find_and_check(split.parents[1], "IVIF", "train", progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("missing", ["root", "task", "split", "side", "images"])
def test_missing_folders_are_named(split: Path, missing: str) -> None:
    root, task, name = split.parents[1], "IVIF", "train"
    if missing == "root":
        root = root / "nowhere"
    elif missing == "task":
        task = "MIF"
    elif missing == "split":
        name = "val"
    else:
        for file in (split / "b").iterdir():
            file.unlink()
        if missing == "side":
            (split / "b").rmdir()
    with pytest.raises(UserError, match="TASK/SPLIT/a"):
        find_and_check(root, task, name)


def test_refusing_lists_all_up_to_a_limit() -> None:
    error = bad_pairs_error([Problem(f"IVIF/train/a/{n}.png", "is empty") for n in range(60)])
    lines = str(error).splitlines()
    assert "60 problems" in lines[0]
    assert "--skip-bad-pairs" in lines[0]
    assert lines[1] == "  IVIF/train/a/0.png: is empty"
    assert len(lines) == 52
    assert "10 more" in lines[-1]
    assert "1 problem in" in str(bad_pairs_error([Problem("x", "is empty")]))


def test_the_digest_depends_on_content_alone(split: Path, tmp_path: Path) -> None:
    pairs, _ = _check(split)
    digest = dataset_digest(pairs)
    (tmp_path / "data").rename(tmp_path / "moved")
    moved, *_ = find_and_check(tmp_path / "moved", "IVIF", "train")
    assert dataset_digest(moved[::-1]) == digest
    assert dataset_digest(moved[1:]) != digest
    _save(tmp_path / "moved" / "IVIF" / "train" / "a" / "n0.png", 99, (24, 32))
    changed, *_ = find_and_check(tmp_path / "moved", "IVIF", "train")
    assert dataset_digest(changed) != digest


def test_real_pairs_pass(shared_data: Path) -> None:
    pairs, problems, _, _ = find_and_check(shared_data, "MIF", "val")
    assert len(pairs) >= 5
    assert not problems


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two pairs of files that need not be readable; suffixes differ."""
    for name in ("one", "two"):
        for side, suffix in (("a", "png"), ("b", "bmp")):
            (tmp_path / side).mkdir(exist_ok=True)
            (tmp_path / side / f"{name}.{suffix}").touch()
    return tmp_path / "a", tmp_path / "b"


def test_pictures_of_equal_stems_are_matched(folders: tuple[Path, Path]) -> None:
    a, b = (sorted(folder.iterdir()) for folder in folders)
    names = {file: file.name for file in (*a, *b)}
    matched, problems = match_sides(a, b, "a", "b", names)
    assert matched == [(name, folders[0] / f"{name}.png", folders[1] / f"{name}.bmp") for name in ("one", "two")]
    assert not problems


def test_what_cannot_be_matched_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = folders
    with pytest.raises(UserError, match="two files or two folders"):
        check_sources(a / "one.png", b, "IVIF")
    with pytest.raises(UserError, match=r"--b .*nothing"):
        check_sources(a, tmp_path / "nothing", "IVIF")
    with pytest.raises(UserError, match="are one folder; a picture is never fused with itself"):
        check_sources(a, a, "IVIF")
    (b / "one.bmp").rename(b / "three.bmp")
    lonely = {Path(problem.file).name: problem.kind for problem in check_sources(a, b, "IVIF").problems}
    assert lonely["one.png"] == lonely["three.bmp"] == "no partner"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture"):
        check_sources(a, tmp_path / "empty", "IVIF")


def test_two_pictures_of_one_stem_are_refused(folders: tuple[Path, Path]) -> None:
    (folders[0] / "one.tif").touch()
    with pytest.raises(UserError, match=r"--fused .*one\.png and one\.tif have one stem"):
        images_by_stem("--fused", folders[0])
