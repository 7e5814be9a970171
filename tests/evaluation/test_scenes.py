from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refusion.errors import UserError
from refusion.evaluation.scenes import (
    MinimumSize,
    check_sizes,
    match_fused,
    match_references,
    pairs_of_folders,
    pairs_of_split,
)
from refusion.evaluation.work_items import Scene
from refusion.images.pairs import dataset_digest
from refusion.images.writing import write_image

MINIMUM = MinimumSize("SSIM", 7)


def write(folder: Path, name: str, height: int = 20, width: int = 30, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / name, np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))
    return folder / name


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """DATA/IVIF/val with two pairs."""
    for seed, side in enumerate("ab"):
        for name in ("two", "one"):
            write(tmp_path / "data" / "IVIF" / "val" / side, f"{name}.png", seed=seed)
    return tmp_path / "data"


def picture(data: Path, fused: Path | None = None, reference: Path | None = None) -> Scene:
    pair = pairs_of_split(str(data), "IVIF", "val")[0]
    return Scene(pair, {"ours": str(fused)} if fused else {}, str(reference) if reference else None)


def test_folders_and_a_split_give_the_same_pairs(data: Path) -> None:
    of_split = pairs_of_split(str(data), "IVIF", "val")
    told: list[tuple[int, int]] = []
    folder = data / "IVIF" / "val"
    of_folders = pairs_of_folders(folder / "a", folder / "b", "IVIF", lambda done, of: told.append((done, of)))
    assert [pair.name for pair in of_split] == ["one", "two"]
    assert of_folders == of_split
    assert dataset_digest(of_folders) == dataset_digest(of_split)
    assert told == [(1, 2), (2, 2)]


def test_the_builtin_scenes_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path))
    pairs = pairs_of_split("builtin", "MFIF", "val")
    assert pairs
    assert all(Path(pair.a).is_relative_to(tmp_path) for pair in pairs)


def test_bad_pairs_of_a_split_are_all_listed(data: Path) -> None:
    folder = data / "IVIF" / "val"
    (folder / "a" / "one.png").write_bytes(b"no picture")
    write(folder / "b", "three.png")
    with pytest.raises(UserError, match=r"a/one\.png: is not") as caught:
        pairs_of_split(str(data), "IVIF", "val")
    assert "IVIF/val/b/three.png: has no partner" in str(caught.value)
    said: list[str] = []
    assert [pair.name for pair in pairs_of_split(str(data), "IVIF", "val", skip_bad=True, tell=said.append)] == ["two"]
    assert sum(line.startswith("left out: IVIF/val/") for line in said) == 2


def test_bad_pairs_of_folders_are_named(data: Path) -> None:
    a, b = (data / "IVIF" / "val" / side for side in "ab")
    write(b, "two.png", 21, 30)
    with pytest.raises(UserError, match=r"a/two\.png: sizes differ: 30×20 in a, 30×21 in b"):
        pairs_of_folders(a, b, "IVIF")
    (b / "two.png").write_bytes((b / "one.png").read_bytes()[:100])
    with pytest.raises(UserError, match=r"b/two\.png: is truncated"):
        pairs_of_folders(a, b, "IVIF")
    with pytest.raises(UserError, match=r"--b .*nowhere"):
        pairs_of_folders(a, data / "nowhere", "IVIF")


def test_fused_pictures_and_sources_must_all_have_a_partner(tmp_path: Path) -> None:
    folder = write(tmp_path / "fused", "one.jpg").parent
    write(folder, "two.png")
    assert match_fused(folder, ["one", "two"]) == {"one": str(folder / "one.jpg"), "two": str(folder / "two.png")}
    with pytest.raises(UserError, match=r"no sources: two\.png; .*no fused picture of the same stem: three$"):
        match_fused(folder, ["one", "three"])
    with pytest.raises(UserError, match=r"018, 019, 020 … and 5 more"):
        match_fused(folder, ["one", "two", *(f"{number:03d}" for number in range(1, 26))])
    with pytest.raises(UserError, match=r"--fused .*no such folder"):
        match_fused(tmp_path / "nowhere", ["one"])
    with pytest.raises(UserError, match=r"--fused .*no such folder"):
        match_fused(folder / "two.png", ["one"])
    write(folder, "one.bmp")
    with pytest.raises(UserError, match=r"one\.bmp and one\.jpg have one stem"):
        match_fused(folder, ["one", "two"])


def test_true_images_may_be_more_but_not_fewer(tmp_path: Path) -> None:
    folder = write(tmp_path / "true", "one.png").parent
    write(folder, "two.png")
    assert match_references(folder, ["two"]) == {"two": str(folder / "two.png")}
    with pytest.raises(UserError, match="no true image of the same stem: three"):
        match_references(folder, ["two", "three"])


def test_sizes_that_fit_pass(data: Path, tmp_path: Path) -> None:
    fused, reference = write(tmp_path / "fused", "one.png"), write(tmp_path / "true", "one.png")
    check_sizes([picture(data, fused, reference)], MINIMUM, crop=False)
    check_sizes([picture(data, write(tmp_path / "fused", "small.png", 18, 29))], MINIMUM, crop=True)
    check_sizes([picture(data, write(tmp_path / "fused", "large.png", 20, 60))], MINIMUM, crop=True)


def test_a_misfit_names_file_and_sizes_and_offers_what_helps(data: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "fused", "small.png", 18, 29)
    with pytest.raises(UserError, match=r"small\.png is 29×18 but its source .*one\.png is 30×20: --align crop"):
        check_sizes([picture(data, small)], MINIMUM, crop=False)
    mixed = write(tmp_path / "fused", "mixed.png", 21, 29)
    for crop in (False, True):
        with pytest.raises(UserError, match=r"mixed\.png is 29×21 .*give pictures of one size"):
            check_sizes([picture(data, mixed)], MINIMUM, crop=crop)
    large = write(tmp_path / "fused", "large.png", 20, 63)
    with pytest.raises(UserError, match=r"large\.png is 63×20 .*at most 32 pixels"):
        check_sizes([picture(data, large)], MINIMUM, crop=True)
    with pytest.raises(UserError, match=r"--reference: .*small\.png is 29×18"):
        check_sizes([picture(data, None, small)], MINIMUM, crop=True)


def test_a_damaged_picture_is_found_before_anything_is_scored(data: Path, tmp_path: Path) -> None:
    fused = write(tmp_path / "fused", "one.png")
    fused.write_bytes(fused.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"fused/one\.png: is truncated"):
        check_sizes([picture(data, fused)], MINIMUM, crop=True)


def test_a_picture_too_small_for_a_metric_is_refused(data: Path, tmp_path: Path) -> None:
    check_sizes([picture(data)], MinimumSize("VIF", 20), crop=False)
    with pytest.raises(UserError, match=r"one\.png: only 20 pixels .*VIF needs at least 41"):
        check_sizes([picture(data)], MinimumSize("VIF", 41), crop=False)
    assert check_sizes([picture(data)], None, crop=False) == 20
    with pytest.raises(UserError, match=r"only 18 pixels"):
        check_sizes([picture(data, write(tmp_path / "fused", "small.png", 18, 30))], MinimumSize("VIF", 20), crop=True)
