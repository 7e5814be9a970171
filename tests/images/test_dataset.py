from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_pairs import write_pairs

from refusion.errors import UserError
from refusion.images import dataset as sources
from refusion.images.dataset import check_pairs, data_folder, evenly_spaced, make_available
from refusion.images.writing import write_image


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that nothing reaches the user's."""
    folder = tmp_path / "home"
    monkeypatch.setenv("REFUSION_HOME", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_pairs(root, "IVIF", "train", 3)
    write_pairs(root, "IVIF", "val", 2, seed=1)
    write_pairs(root, "MIF", "train", 2, seed=2)
    write_pairs(root, "MIF", "val", 2, seed=3)
    return root


def refusal(folder: Path | str, *tasks: str, skip_bad: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        check_pairs(str(folder), tasks or ("IVIF",), skip_bad=skip_bad)
    return str(caught.value)


def test_good_pairs_are_found_task_by_task_and_told_as_they_are_checked(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = check_pairs(str(folder), ("MIF", "IVIF"), skip_bad=False, progress=lambda *what: told.append(what))
    assert [(pairs.task, len(pairs.train), len(pairs.val)) for pairs in found] == [("MIF", 2, 2), ("IVIF", 3, 2)]
    assert all(pairs.folder == str(folder) and not pairs.skipped for pairs in found)
    assert [what for what in told if what[0] == "IVIF/train"] == [("IVIF/train", done, 3) for done in (1, 2, 3)]


def test_a_missing_folder_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    message = refusal(tmp_path / "gone")
    assert message.startswith(f"--data {tmp_path / 'gone'}: there is no folder")
    assert "TASK/{train,val}/{a,b}" in message


@pytest.mark.parametrize("missing", ["IVIF/val", "IVIF/train/b"])
def test_a_missing_part_is_refused_by_its_path(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    assert f"there is no folder {folder / missing}" in refusal(folder)


def test_bad_pairs_of_all_tasks_are_listed_at_once(folder: Path) -> None:
    (folder / "IVIF/train/b/scene_1.png").unlink()
    (folder / "IVIF/val/a/scene_0.png").write_bytes(b"")
    (folder / "MIF/train/a/scene_0.png").write_bytes(b"no picture")
    message = refusal(folder, "IVIF", "MIF")
    assert message.startswith("found 3 problems in the image pairs")
    assert "--skip-bad-pairs" in message
    for file in ("IVIF/train/a/scene_1.png", "IVIF/val/a/scene_0.png", "MIF/train/a/scene_0.png"):
        assert f"  {file}: " in message


def test_bad_pairs_can_be_left_out_and_are_reported(folder: Path) -> None:
    (folder / "IVIF/train/b/scene_1.png").unlink()
    (pairs,) = check_pairs(str(folder), ("IVIF",), skip_bad=True)
    assert [pair.name for pair in pairs.train] == ["scene_0", "scene_2"]
    assert [problem.file for problem in pairs.skipped] == ["IVIF/train/a/scene_1.png"]


def test_leaving_out_every_pair_is_refused(folder: Path) -> None:
    for file in (folder / "IVIF/val/a").iterdir():
        file.write_bytes(b"no picture")
    message = refusal(folder, skip_bad=True)
    assert "no good pair is left in IVIF/val" in message
    assert "IVIF/val/a/scene_1.png" in message


def test_val_pairs_too_small_to_be_measured_are_found_before_training(folder: Path) -> None:
    small = np.random.default_rng(0).integers(0, 256, (2, 8, 12), dtype=np.uint8)
    for split in ("train", "val"):
        for side, image in zip("ab", small, strict=True):
            write_image(folder / "IVIF" / split / side / "tiny.png", image)
    message = refusal(folder)
    assert "IVIF/val/a/tiny.png: is 12×8: validation needs at least " in message
    # Training pads them.
    assert "IVIF/train" not in message
    (pairs,) = check_pairs(str(folder), ("IVIF",), skip_bad=True)
    assert "tiny" in {pair.name for pair in pairs.train}
    assert "tiny" not in {pair.name for pair in pairs.val}


def test_builtin_scenes_lie_in_our_home_under_their_version(home: Path) -> None:
    assert data_folder("builtin") == home / f"builtin-{sources.BUILTIN_VERSION}"


def test_own_data_is_an_absolute_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert data_folder("data") == folder


def test_only_builtin_scenes_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr(sources, "ensure_builtin", made.append)
    make_available(str(tmp_path), tmp_path)
    assert made == []
    make_available("builtin", tmp_path / "scenes")
    assert made == [tmp_path / "scenes"]


@pytest.mark.parametrize(
    ("count", "wanted", "indices"),
    [
        (5, None, [0, 1, 2, 3, 4]),
        (5, 9, [0, 1, 2, 3, 4]),
        (5, 1, [2]),
        (10, 2, [2, 7]),
        (10, 5, [1, 3, 5, 7, 9]),
        (7, 3, [1, 3, 5]),
    ],
)
def test_a_few_of_many_are_spread_evenly(count: int, wanted: int | None, indices: list[int]) -> None:
    assert evenly_spaced(count, wanted) == indices


@pytest.mark.parametrize("count", [1, 7, 50])
@pytest.mark.parametrize("wanted", [1, 3, 49])
def test_no_index_is_chosen_twice_or_out_of_range(count: int, wanted: int) -> None:
    indices = evenly_spaced(count, wanted)
    assert len(set(indices)) == len(indices) == min(count, wanted)
    assert set(indices) <= set(range(count))
