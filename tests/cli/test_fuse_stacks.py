from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shipped_modules import tiny_checkpoint

from refusion.cli.fuse import fuse
from refusion.errors import UserError
from refusion.fuse import load_module
from refusion.images.reading import read_image
from refusion.images.writing import write_image
from refusion.stacks import fuse_stack, fuse_stack_exact

RNG = np.random.default_rng(0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "checkpoint", "MEIF")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three exposures of two scenes, the second source in colour."""
    for number in range(3):
        (tmp_path / f"e{number}").mkdir()
        for name in ("one", "two"):
            shape = (20, 30, 3) if number == 1 else (20, 30)
            pixels = RNG.integers(0, 256 - 40 * number, shape, dtype=np.uint8)
            write_image(tmp_path / f"e{number}" / f"{name}.png", pixels)
    return [tmp_path / f"e{number}" for number in range(3)]


def asked(checkpoint: Path, sources: list[Path], out: Path, *more: str, task: str = "MEIF") -> list[str]:
    named = ["--sources", *map(str, sources)]
    return ["--checkpoint", str(checkpoint), "--task", task, *named, "--out", str(out), *more]


def _fused(out: Path, checkpoint: Path, folders: list[Path], name: str, **options: Any) -> None:
    pictures = [read_image(folder / f"{name}.png") for folder in folders]
    expected = fuse_stack_exact(load_module(checkpoint), pictures, "MEIF", **options)
    np.testing.assert_allclose(read_image(out), np.clip(expected, 0, 255), atol=0.51)


def test_folders_are_fused_stack_by_stack(
    checkpoint: Path, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fused"
    assert fuse(asked(checkpoint, folders, out), "") == 0
    assert sorted(path.name for path in out.iterdir()) == ["fused.csv", "one.png", "two.png"]
    pictures = [read_image(folder / "one.png") for folder in folders]
    assert np.array_equal(read_image(out / "one.png"), fuse_stack(load_module(checkpoint), pictures, "MEIF"))
    said = capsys.readouterr().out
    assert "stacks of 3 are fused from the extremes inward, by mean luminance" in said
    assert f"{folders[1]}/one.png{os.pathsep}{folders[2]}/one.png" in (out / "fused.csv").read_text()
    written = (out / "one.png").stat().st_mtime_ns
    assert fuse(asked(checkpoint, folders, out), "") == 0
    assert "0 fused, 2 there already" in capsys.readouterr().out
    assert (out / "one.png").stat().st_mtime_ns == written
    with pytest.raises(UserError, match=r"2 of the pictures there were made otherwise(.|\n)*other sources"):
        fuse(asked(checkpoint, folders[::-1], out), "")
    assert fuse(asked(checkpoint, folders, tmp_path / "focus", task="mfif"), "") == 0
    assert "in the order in which the sources are named" in capsys.readouterr().out


def test_files_are_one_stack(checkpoint: Path, folders: list[Path], tmp_path: Path) -> None:
    files = [folder / "two.png" for folder in folders]
    options = ["--depth", "16", "--format", "tiff", "--grey", "--no-stretch"]
    assert fuse(asked(checkpoint, files, tmp_path / "fused", *options), "") == 0
    assert sorted(path.name for path in (tmp_path / "fused").iterdir()) == ["fused.csv", "two.tif"]
    _fused(tmp_path / "fused" / "two.tif", checkpoint, folders, "two", grey=True, stretched=False)


def test_two_sources_are_a_and_b(checkpoint: Path, folders: list[Path], tmp_path: Path) -> None:
    pair = ["--checkpoint", str(checkpoint), "--task", "IVIF", "--a", str(folders[1]), "--b", str(folders[0])]
    assert fuse([*pair, "--out", str(tmp_path / "pair")], "") == 0
    assert fuse(asked(checkpoint, folders[1::-1], tmp_path / "stack", task="IVIF"), "") == 0
    assert (tmp_path / "pair" / "one.png").read_bytes() == (tmp_path / "stack" / "one.png").read_bytes()


def test_bad_stacks_are_refused_together_or_left_out(
    checkpoint: Path, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(folders[2] / "one.png", np.zeros((21, 30), np.uint8))
    write_image(folders[0] / "three.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match="found 3 problems") as caught:
        fuse(asked(checkpoint, folders, tmp_path / "fused", "--stop-at-first-bad"), "")
    assert "sizes differ: 30×20 in source 1, 30×21 in source 3" in str(caught.value)
    with pytest.raises(UserError, match="found 3 problems"):
        fuse(asked(checkpoint, folders, tmp_path / "fused", "--check"), "")
    assert fuse(asked(checkpoint, folders, tmp_path / "fused", "--check", "--skip-bad-pairs"), "") == 0
    assert "MEIF: 1 good pairs, 3 problems" in capsys.readouterr().out
    assert not (tmp_path / "fused").exists()
    with pytest.raises(UserError, match="2 pairs are bad, all others are fused"):
        fuse(asked(checkpoint, folders, tmp_path / "fused"), "")
    assert sorted(path.name for path in (tmp_path / "fused").iterdir()) == ["fused.csv", "two.png"]
    assert fuse(asked(checkpoint, folders, tmp_path / "again", "--skip-bad-pairs"), "") == 0
    listed = (tmp_path / "again" / "fused.csv").read_text()
    assert listed.count("bad: ") == 2
    assert f"{folders[0]}/three.png: has no partner in {folders[1]}, {folders[2]}" in listed


def test_a_result_keeps_what_its_coloured_source_carries(checkpoint: Path, folders: list[Path], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 1
    file = folders[1] / "one.png"
    with Image.open(file) as picture:
        picture.save(file, exif=exif, dpi=(72, 72))
    assert fuse(asked(checkpoint, folders, tmp_path / "fused"), "") == 0
    with Image.open(tmp_path / "fused" / "one.png") as written:
        assert written.getexif()[271] == "Maker"
        assert written.info["dpi"] == pytest.approx((72, 72), rel=1e-3)


@pytest.mark.parametrize("place", ["e2", "e1/fused", "."])
def test_results_never_go_into_a_source(checkpoint: Path, folders: list[Path], tmp_path: Path, place: str) -> None:
    with pytest.raises(UserError, match=r"--out .* the source .*; choose a folder outside of the sources"):
        fuse(asked(checkpoint, folders, tmp_path / place), "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--task", "IVIF", "--sources", "x", "y", "z"],
            "IVIF fuses two sources, infrared and visible, but 3",
        ),
        (["--task", "mif", "--sources", "x", "y", "z"], "MIF fuses two sources, CT, PET or SPECT and MRI"),
        (["--task", "MEIF", "--sources", "x"], "--sources x: name two sources or more"),
        (["--task", "MEIF", "--sources", "x", "y", "--a", "z"], "--sources goes without --a and --b"),
        (["--task", "MEIF", "--a", "z"], "--b is missing: give --a and --b, or --sources F1 F2 F3 …"),
        (["--task", "MEIF", "--sources", "x", "y", "z", "--adapt", "2"], "--adapt: is for pairs, not for stacks"),
        (["--task", "MEIF", "--sources", "x", "y", "z", "--map", "a=x,b=y"], "--map: is for pairs, not for stacks"),
    ],
)
def test_requests_that_make_no_stack(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        fuse([*arguments, "--out", str(tmp_path / "out")], "")
