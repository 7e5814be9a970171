from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refusion.config.ranges import Reading, parse_ranges
from refusion.errors import UserError
from refusion.images.pairs import Checked, check_lines, good_pairs
from refusion.images.stacks.stack import Stack, check_stacks

RNG = np.random.default_rng(5)


def _save(path: Path, pixels: Any = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (24, 32), dtype=np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(path, **options)
    return path


def _folders(root: Path, names: str = "xy", count: int = 4) -> list[Path]:
    for number in range(count):
        for name in names:
            _save(root / str(number) / f"{name}.png")
    return [root / str(number) for number in range(count)]


def _check(sources: list[Path], ranges: str = "auto", task: str = "MEIF") -> Checked:
    return check_stacks(sources, task, reading=Reading(parse_ranges(ranges)))


def test_equal_stems_of_all_folders_are_a_stack(tmp_path: Path) -> None:
    folders = _folders(tmp_path)
    checked = _check(folders[::-1])
    assert not checked.problems
    assert [(stack.name, stack.height, stack.width) for stack in checked.pairs] == [("x", 24, 32), ("y", 24, 32)]
    assert checked.pairs[0].files == tuple(str(folder / "x.png") for folder in folders[::-1])
    stack = checked.pairs[1]
    assert isinstance(stack, Stack)
    expected = [np.asarray(Image.open(folder / "y.png")) for folder in folders[::-1]]
    assert all(np.array_equal(one, other) for one, other in zip(stack.read(), expected, strict=True))
    assert checked.pairs[0].digest != _check(folders).pairs[0].digest


def test_files_are_one_stack_with_the_name_of_the_first(tmp_path: Path) -> None:
    files = [_save(tmp_path / name) for name in ("dark.png", "middle.bmp", "bright.tif")]
    (stack,) = _check(files).pairs
    assert (stack.name, stack.files) == ("dark", tuple(map(str, files)))


def test_all_problems_of_all_sources_are_listed_together(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "abcdefg")
    (folders[2] / "a.png").write_text("no picture")
    _save(folders[3] / "b.png", np.zeros((24, 33), np.uint8))
    (folders[1] / "c.png").unlink()
    Image.open(folders[0] / "d.png").convert("RGB").save(folders[3] / "d.png")
    (folders[2] / "e.png").unlink()
    (folders[2] / "e.png").symlink_to(folders[1] / "e.png")
    exif = Image.Exif()
    exif[274] = 3
    _save(folders[3] / "f.png", exif=exif)
    _save(folders[1] / "g.bmp")
    checked = _check(folders)
    assert not checked.pairs
    kinds = {(Path(problem.file).stem, problem.kind) for problem in checked.problems}
    assert kinds == {
        ("a", "unreadable"), ("b", "size"), ("c", "no partner"), ("d", "same picture"), ("e", "same file"),
        ("f", "orientation"), ("g", "shared stem"),
    }  # fmt: skip
    said = {Path(problem.file).stem: problem.what for problem in checked.problems}
    assert said["c"] == f"has no partner in {folders[1]}"
    assert "sizes differ: 32×24 in source 3, 33×24 in source 4" in said["b"]
    assert str(folders[3] / "d.png") in said["d"]
    with pytest.raises(UserError, match="found 11 problems"):
        good_pairs(checked, skip_bad=False)
    with pytest.raises(UserError, match="no good pair is left"):
        good_pairs(checked, skip_bad=True)
    for folder in folders:
        _save(folder / "h.png")
    again = _check(folders)
    assert [stack.name for stack in good_pairs(again, skip_bad=True)] == ["h"]
    assert sum(line.startswith("left out: ") for line in check_lines(again)) == 11


def test_a_stack_shares_its_range(tmp_path: Path) -> None:
    files = []
    for number, low in enumerate((1000, 2000, 5000)):
        counts = RNG.integers(low, low + 2000, (24, 32)).astype(np.uint16)
        files.append(_save(tmp_path / f"{number}.tif", counts))
    (stack,) = _check(files).pairs
    assert len(set(stack.ranges)) == 1
    assert isinstance(stack, Stack)
    means = [picture.mean() for picture in stack.read()]
    assert means == sorted(means)
    assert means[2] - means[0] > 100
    (fixed,) = _check(files, "1000,7000").pairs
    assert fixed.ranges == ((1000, 7000),) * 3
    with pytest.raises(UserError, match="--range a=… b=…: is of two sources; with --sources give one rule for all"):
        _check(files, "a=full")


def test_what_is_no_stack_is_refused(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "x", 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "alias").symlink_to(folders[1])
    for sources, sentence in (
        ([*folders, tmp_path / "none"], "--sources .*none: there is no such file or folder"),
        ([*folders, folders[0] / "x.png"], "is a folder; give files alone, or folders alone"),
        ([*folders, tmp_path / "alias"], "alias: is named twice; a picture is never fused with itself"),
        ([*folders, tmp_path / "empty"], r"--sources .*empty: there is no picture \(\.png"),
    ):
        with pytest.raises(UserError, match=sentence):
            _check(sources)
